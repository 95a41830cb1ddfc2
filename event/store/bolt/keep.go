package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"sluice.dev/sluice/event/task"
)

const (
	// trimmed bounds how many tasks one transaction removes because of their size.
	trimmed = 4096
	// expired bounds how many it removes because of their age.
	expired = 1024
)

// keep stores a task that has nothing to do any more. A task that is done does not need its request: nobody can have it tried again.
func (s *Store) keep(tx *bbolt.Tx, t *task.Task) error {
	id, record := []byte(t.ID), encode(*t)
	if t.State == task.Done {
		if err := tx.Bucket(requestBucket).Delete(id); err != nil {
			return err
		}
	}
	size := int64(len(record) + len(tx.Bucket(requestBucket).Get(id)) + len(tx.Bucket(resultBucket).Get(id)))
	if err := tx.Bucket(keptBucket).Put(id, record); err != nil {
		return err
	}
	if err := tx.Bucket(endedBucket).Put(endedKey(t), encodeNumber(size)); err != nil {
		return err
	}
	s.index.addKept(size)
	return nil
}

// unkeep removes a task from those that have nothing to do, and leaves its request and result.
func (s *Store) unkeep(tx *bbolt.Tx, t *task.Task) error {
	key := endedKey(t)
	s.index.addKept(-number(tx.Bucket(endedBucket).Get(key)))
	if err := tx.Bucket(endedBucket).Delete(key); err != nil {
		return err
	}
	return tx.Bucket(keptBucket).Delete([]byte(t.ID))
}

// forget removes all of a task that has nothing to do.
func (s *Store) forget(tx *bbolt.Tx, t *task.Task) error {
	id := []byte(t.ID)
	return firstError(
		func() error { return s.unkeep(tx, t) },
		func() error { return tx.Bucket(requestBucket).Delete(id) },
		func() error { return tx.Bucket(resultBucket).Delete(id) },
		func() error {
			if key := []byte(t.Key); len(key) > 0 && bytes.Equal(tx.Bucket(keyBucket).Get(key), id) {
				return tx.Bucket(keyBucket).Delete(key)
			}
			return nil
		},
	)
}

// trim removes the tasks that ended first, while those that ended have more bytes than they may.
func (s *Store) trim(tx *bbolt.Tx) error {
	for range trimmed {
		if s.index.usage().ResultBytes <= s.limits.ResultBytes {
			return nil
		}
		key, _ := tx.Bucket(endedBucket).Cursor().First()
		if key == nil {
			return nil
		}
		if err := s.forgetKey(tx, key); err != nil {
			return err
		}
	}
	return nil
}

// forgetKey removes the task of a key of endedBucket.
func (s *Store) forgetKey(tx *bbolt.Tx, key []byte) error {
	t, _, err := find(tx, string(key[endedTime:]))
	if err != nil {
		return err
	}
	return s.forget(tx, &t)
}

// Expire removes what was kept for long enough; see store.Store.
func (s *Store) Expire(ctx context.Context, now time.Time) (int, error) {
	total := 0
	for {
		n := 0
		err := s.do(ctx, 0, func(tx *bbolt.Tx) error {
			for n < expired {
				key, _ := tx.Bucket(endedBucket).Cursor().First()
				if key == nil || now.Before(endedAt(key).Add(s.limits.Retention)) {
					return nil
				}
				if err := s.forgetKey(tx, key); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if total += n; err != nil || n < expired {
			return total, err
		}
	}
}

// endedTime is how many bytes of a key of endedBucket are the time.
const endedTime = 8

func endedKey(t *task.Task) []byte {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, endedTime+len(t.ID)), uint64(t.Ended.UnixNano())) //nolint:gosec // after 1970
	return append(key, t.ID...)
}

func endedAt(key []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(key))) //nolint:gosec // as endedKey has made it
}
