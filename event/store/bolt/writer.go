package bolt

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

const (
	// queued is how many operations may wait for the writer; who comes later waits to be queued.
	queued = 1024
	// batchLength and batchBytes bound one transaction, so that the first in it does not wait for too long.
	batchLength = 1024
	batchBytes  = 16 << 20
)

// operation is one change, made in a transaction that it may share with others.
type operation struct {
	size  int // of what it writes, about
	apply func(*bbolt.Tx) error
	err   error
	done  chan struct{} // closed when err is final
}

// do has the writer make a change, and waits until it is on disk. A change that returns an error must not have changed anything.
func (s *Store) do(ctx context.Context, size int, apply func(*bbolt.Tx) error) error {
	op := &operation{size: size, apply: apply, done: make(chan struct{})}
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
	}
	select {
	case s.ops <- op:
	case <-s.closing:
		return store.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-op.done:
		return op.err
	case <-s.ended:
		select {
		case <-op.done:
			return op.err
		default:
			return store.ErrClosed
		}
	}
}

// write is the goroutine that writes. It ends when the store is closed and nothing is queued.
func (s *Store) write() {
	defer close(s.ended)
	for {
		select {
		case op := <-s.ops:
			s.commit(s.batch(op))
		case <-s.closing:
			select {
			case op := <-s.ops:
				s.commit(s.batch(op))
			default:
				return
			}
		}
	}
}

// batch returns an operation and those that are queued behind it.
func (s *Store) batch(first *operation) []*operation {
	batch, size := []*operation{first}, first.size
	for len(batch) < batchLength && size < batchBytes {
		select {
		case op := <-s.ops:
			batch, size = append(batch, op), size+op.size
		default:
			return batch
		}
	}
	return batch
}

// commit makes the changes of a batch in one transaction.
func (s *Store) commit(batch []*operation) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, op := range batch {
			op.err = op.apply(tx)
		}
		if err := s.trim(tx); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(keptBytes, encodeNumber(s.index.usage().ResultBytes))
	})
	if err != nil {
		err = fmt.Errorf("writing to the task store: %w", err)
		if again := s.fillIndex(); again != nil {
			err = fmt.Errorf("%w; and reading it again: %w", err, again)
		}
	}
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		close(op.done)
	}
	s.signal()
}

// signal tells the runner that something may be due.
func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// replacement is a step that a task has made.
type replacement struct {
	before, after *task.Task
	kept          bool   // where before is
	result        []byte // nil for none
}

// replace stores what a step has made of a task.
func (s *Store) replace(tx *bbolt.Tx, r *replacement) error {
	id := []byte(r.after.ID)
	if r.kept {
		if err := s.unkeep(tx, r.before); err != nil {
			return err
		}
	}
	if r.result != nil {
		if err := tx.Bucket(resultBucket).Put(id, r.result); err != nil {
			return err
		}
	}
	if !r.after.Next().IsZero() {
		if err := tx.Bucket(liveBucket).Put(id, encode(*r.after)); err != nil {
			return err
		}
		s.index.put(r.after, int64(len(tx.Bucket(requestBucket).Get(id))))
		return nil
	}
	if err := tx.Bucket(liveBucket).Delete(id); err != nil {
		return err
	}
	s.index.remove(r.after.ID)
	return s.keep(tx, r.after)
}
