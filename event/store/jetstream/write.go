package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// contended bounds how often a write is tried again because others have written first.
const contended = 100

var errContended = errors.New("others change the task all the time")

// Add records a task; see store.Store. The request comes first, then the claim of the task's Key, and the task last.
func (s *Store) Add(ctx context.Context, t task.Task, r task.Request) (task.Task, bool, error) {
	if !task.ValidID(t.ID) {
		return task.Task{}, false, fmt.Errorf("the task has the ID %.64q, which is none", t.ID)
	}
	body := encode(r)
	rec := record{Task: t, Request: int64(len(body))}
	if t.Key != "" { // a duplicate needs no room
		if first, ok, err := s.claimed(ctx, &rec); err != nil || ok {
			return first, ok, err
		}
	}
	if err := s.index.admit(t.Revision, rec.bytes(), s.options.Limits); err != nil {
		return task.Task{}, false, err
	}
	if _, err := s.bucket.Put(ctx, requestKey(t.ID), body); err != nil {
		return task.Task{}, false, s.known(err)
	}
	if t.Key != "" {
		first, ok, err := s.claim(ctx, &rec)
		if err != nil || ok {
			return first, ok, errors.Join(err, s.erase(ctx, requestKey(t.ID)))
		}
	}
	recorded, err := s.record(ctx, &rec)
	return recorded, false, err
}

// record makes the key of a task, unless there is one.
func (s *Store) record(ctx context.Context, rec *record) (task.Task, error) {
	revision, err := s.bucket.Create(ctx, taskKey(rec.Task.ID), encode(rec))
	switch {
	case err == nil:
		s.index.put(rec, revision)
		s.signal()
		return rec.Task, nil
	case errors.Is(err, jetstream.ErrKeyExists):
		return s.Get(ctx, rec.Task.ID) // another process has recorded it for this one; see claimed
	}
	return task.Task{}, s.known(err)
}

// claim has the Key of a task stand for it. If the Key stands for another task already, claim returns that one, and true.
func (s *Store) claim(ctx context.Context, rec *record) (task.Task, bool, error) {
	key := eventKey(rec.Task.Key)
	for range contended {
		_, err := s.bucket.Create(ctx, key, encode(rec))
		if err == nil {
			return task.Task{}, false, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return task.Task{}, false, s.known(err)
		}
		first, ok, err := s.claimed(ctx, rec)
		if err != nil || ok {
			return first, ok, err
		}
		// The window of the one that it stands for is over.
		e, err := s.bucket.Get(ctx, key)
		if err == nil {
			_, err = s.bucket.Update(ctx, key, encode(rec), e.Revision())
		}
		switch {
		case err == nil:
			return task.Task{}, false, nil
		case !lostRace(err) && !errors.Is(err, jetstream.ErrKeyNotFound):
			return task.Task{}, false, s.known(err)
		}
	}
	return task.Task{}, false, errContended
}

// claimed returns the task that has the Key of another one and was accepted not longer than the window before it. Where the process that
// has claimed the Key has not recorded its task yet, or has ended before, claimed records it: a claim is a promise.
func (s *Store) claimed(ctx context.Context, rec *record) (task.Task, bool, error) {
	key := eventKey(rec.Task.Key)
	e, err := s.bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return task.Task{}, false, nil
	}
	if err != nil {
		return task.Task{}, false, s.known(err)
	}
	first, err := decode[record](key, e.Value())
	if err != nil || rec.Task.Accepted.Sub(first.Task.Accepted) > s.options.Limits.Window {
		return task.Task{}, false, err
	}
	t, err := s.Get(ctx, first.Task.ID)
	if !errors.Is(err, store.ErrNotFound) {
		return t, err == nil, err
	}
	// A task is removed after its Key is. So if the Key is still there, the task has not been made.
	again, err := s.bucket.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return task.Task{}, false, nil
	case err != nil:
		return task.Task{}, false, s.known(err)
	case again.Revision() != e.Revision():
		return s.claimed(ctx, rec)
	}
	t, err = s.record(ctx, &first)
	return t, err == nil, err
}

// lostRace says that somebody else has written first.
func lostRace(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Change applies a step; see store.Store.
func (s *Store) Change(ctx context.Context, id string, result *task.Result, step func(*task.Task) error) (task.Task, error) {
	for range contended {
		rec, revision, err := s.read(ctx, id)
		if err != nil {
			return task.Task{}, err
		}
		if err := step(&rec.Task); err != nil {
			return task.Task{}, err
		}
		switch err := s.replace(ctx, &rec, revision, result); {
		case err == nil:
			return rec.Task, nil
		case !lostRace(err):
			return task.Task{}, s.known(err)
		}
	}
	return task.Task{}, errContended
}

// replace stores what a step has made of a task, with the result first.
func (s *Store) replace(ctx context.Context, rec *record, revision uint64, result *task.Result) error {
	id, before, written := rec.Task.ID, rec.Result, ""
	if result != nil {
		body := encode(result)
		written = resultKey(id, revision)
		if _, err := s.bucket.Put(ctx, written, body); err != nil {
			return err
		}
		rec.Result, rec.ResultBytes = written, int64(len(body))
	}
	done := rec.Task.State == task.Done && rec.Task.Next().IsZero() && rec.Request > 0 // nobody needs its request any more
	if done {
		rec.Request = 0
	}
	after, err := s.bucket.Update(ctx, taskKey(id), encode(rec), revision)
	if err != nil {
		return errors.Join(err, s.erase(ctx, written))
	}
	s.index.put(rec, after)
	s.signal()
	// What is not needed any more is erased as far as that succeeds: Expire erases the rest with the task.
	if done {
		_ = s.erase(ctx, requestKey(id))
	}
	if before != rec.Result {
		_ = s.erase(ctx, before)
	}
	if rec.Task.State.Open() || s.index.usage().ResultBytes <= s.options.Limits.ResultBytes {
		return nil
	}
	_, _ = s.expire(ctx, rec.Task.Ended, trimmed) // likewise
	return nil
}

// trimmed bounds how many tasks one step removes because of their size.
const trimmed = 16

// erase removes keys that nobody watches, and leaves nothing of them.
func (s *Store) erase(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+s.options.Bucket+"."+key)); err != nil {
		return s.known(err)
	}
	return nil
}

// Expire removes what was kept for long enough; see store.Store.
func (s *Store) Expire(ctx context.Context, now time.Time) (int, error) { return s.expire(ctx, now, 0) }

// expire removes at most so many tasks, or all with 0. It returns how many were removed for their age.
func (s *Store) expire(ctx context.Context, now time.Time, most int) (int, error) {
	total := 0
	for n := 0; most == 0 || n < most; n++ {
		id, key, aged, ok := s.index.expired(now, s.options.Limits)
		if !ok {
			return total, nil
		}
		removed, err := s.forget(ctx, id, key)
		if err != nil {
			return total, err
		}
		if removed && aged {
			total++
		}
	}
	return total, nil
}

// forget removes all of a task that has nothing to do: first the claim of its Key, which is to stand for no task that there is not.
func (s *Store) forget(ctx context.Context, id, key string) (bool, error) {
	rec, revision, err := s.read(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		s.index.remove(id) // another process was first
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if rec.Task.State.Open() || !rec.Task.Next().IsZero() {
		s.index.put(&rec, revision) // a client has it tried again
		return false, nil
	}
	if err := s.release(ctx, id, key); err != nil {
		return false, err
	}
	err = s.bucket.Purge(ctx, taskKey(id), jetstream.LastRevision(revision), jetstream.PurgeTTL(markerTTL))
	if lostRace(err) {
		return false, nil // it has changed, and the watch brings it
	}
	if err != nil {
		return false, s.known(err)
	}
	s.index.remove(id)
	return true, errors.Join(s.erase(ctx, requestKey(id)), s.erase(ctx, "result."+id+".>"))
}

// release ends the claim of a Key, if it stands for this task.
func (s *Store) release(ctx context.Context, id, key string) error {
	if key == "" {
		return nil
	}
	e, err := s.bucket.Get(ctx, eventKey(key))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return s.known(err)
	}
	if claim, err := decode[record](e.Key(), e.Value()); err != nil || claim.Task.ID != id {
		return err
	}
	err = s.bucket.Purge(ctx, eventKey(key), jetstream.LastRevision(e.Revision()), jetstream.PurgeTTL(markerTTL))
	if lostRace(err) {
		return nil // it stands for another task now
	}
	return s.known(err)
}
