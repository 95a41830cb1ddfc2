package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// The buckets of the file.
var (
	liveBucket    = []byte("live")    // ID → task that has something to do: it is open, or has something to deliver
	keptBucket    = []byte("kept")    // ID → task that has ended
	requestBucket = []byte("request") // ID → request
	resultBucket  = []byte("result")  // ID → result
	keyBucket     = []byte("key")     // Key of a task → ID
	endedBucket   = []byte("ended")   // time of the end, ID → bytes of a kept task with its request and result
	metaBucket    = []byte("meta")    // keptBytes → their sum
	buckets       = [][]byte{liveBucket, keptBucket, requestBucket, resultBucket, keyBucket, endedBucket, metaBucket}
	keptBytes     = []byte("keptBytes")
)

// lockWait is how long Open waits for another process that ends.
const lockWait = time.Second

// Store is a store.Store in a file.
type Store struct {
	// Set once by Open.
	db      *bbolt.DB
	limits  store.Limits
	index   *index
	changed chan struct{}
	ops     chan *operation
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when the writer has ended
	close   sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a file, and makes both it and its folder if they do not exist. Tasks that ran when the process before ended are
// due at once; their tries count. Errors: store.ErrInUse, with the file.
func Open(file string, limits store.Limits, now time.Time) (*Store, error) {
	if err := limits.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the task store: %w", err)
	}
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
		NoFreelistSync: true, // it is made again when the file is opened; to write it costs more with every free page
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is open in another one; each process needs a file of its own", store.ErrInUse, file)
	case err != nil:
		return nil, fmt.Errorf("opening the task store %s: %w", file, err)
	}
	s := &Store{
		db: db, limits: limits, index: newIndex(), changed: make(chan struct{}, 1),
		ops: make(chan *operation, queued), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := s.recover(now); err != nil {
		db.Close() //nolint:errcheck // the error to return is the first one
		return nil, fmt.Errorf("reading the task store %s: %w", file, err)
	}
	go s.write()
	return s, nil
}

// recover makes what is missing in a new file, ends the tries that were interrupted, and fills the index.
func (s *Store) recover(now time.Time) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		var interrupted []task.Task
		if err := eachTask(tx.Bucket(liveBucket), func(t task.Task) {
			if t.State == task.Running {
				interrupted = append(interrupted, t)
			}
		}); err != nil {
			return err
		}
		for _, t := range interrupted {
			if err := t.Abandon(now); err != nil {
				return err
			}
			if err := tx.Bucket(liveBucket).Put([]byte(t.ID), encode(t)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.fillIndex()
}

// fillIndex makes the index from what is stored.
func (s *Store) fillIndex() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		s.index.reset(number(tx.Bucket(metaBucket).Get(keptBytes)))
		requests := tx.Bucket(requestBucket)
		return eachTask(tx.Bucket(liveBucket), func(t task.Task) {
			s.index.put(&t, int64(len(requests.Get([]byte(t.ID)))))
		})
	})
}

// Add records a task; see store.Store.
func (s *Store) Add(ctx context.Context, t task.Task, r task.Request) (task.Task, bool, error) {
	body, recorded, duplicate := encodeRequest(&r), t, false
	err := s.do(ctx, len(body), func(tx *bbolt.Tx) error {
		if first, ok := s.sameKey(tx, &t); ok {
			recorded, duplicate = first, true
			return nil
		}
		record := encode(t)
		if err := s.index.admit(&t, int64(len(body)), s.limits); err != nil {
			return err
		}
		id := []byte(t.ID)
		return firstError(
			func() error { return tx.Bucket(liveBucket).Put(id, record) },
			func() error { return tx.Bucket(requestBucket).Put(id, body) },
			func() error { return putKey(tx, &t) },
			func() error { s.index.put(&t, int64(len(body))); return nil },
		)
	})
	if err != nil {
		return task.Task{}, false, err
	}
	return recorded, duplicate, nil
}

// sameKey returns the task that has the key of another one and was accepted not longer than the window before it.
func (s *Store) sameKey(tx *bbolt.Tx, t *task.Task) (task.Task, bool) {
	if t.Key == "" {
		return task.Task{}, false
	}
	id := tx.Bucket(keyBucket).Get([]byte(t.Key))
	if id == nil {
		return task.Task{}, false
	}
	first, _, err := find(tx, string(id))
	if err != nil || t.Accepted.Sub(first.Accepted) > s.limits.Window {
		return task.Task{}, false
	}
	return first, true
}

// Change applies a step; see store.Store.
func (s *Store) Change(ctx context.Context, id string, result *task.Result, step func(*task.Task) error) (task.Task, error) {
	var body []byte
	if result != nil {
		body = encodeResult(result)
	}
	var after task.Task
	err := s.do(ctx, len(body), func(tx *bbolt.Tx) error {
		t, kept, err := find(tx, id)
		if err != nil {
			return err
		}
		before := t
		if err := step(&t); err != nil {
			return err
		}
		after = t
		return s.replace(tx, &replacement{before: &before, after: &t, kept: kept, result: body})
	})
	if err != nil {
		return task.Task{}, err
	}
	return after, nil
}

// Get returns a task; see store.Store.
func (s *Store) Get(_ context.Context, id string) (t task.Task, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		t, _, err = find(tx, id)
		return err
	})
	return t, err
}

// Request returns the request of a task; see store.Store.
func (s *Store) Request(_ context.Context, id string) (r task.Request, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		r, err = decodeRequest(tx.Bucket(requestBucket).Get([]byte(id)))
		return err
	})
	return r, err
}

// Result returns the result of a task; see store.Store.
func (s *Store) Result(_ context.Context, id string) (r task.Result, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		r, err = decodeResult(tx.Bucket(resultBucket).Get([]byte(id)))
		return err
	})
	return r, err
}

// view reads.
func (s *Store) view(read func(*bbolt.Tx) error) error {
	err := s.db.View(read)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// Due returns the tasks to run now; see store.Store.
func (s *Store) Due(_ context.Context, now time.Time, room func(string) int) ([]task.Task, error) {
	return s.load(s.index.due(now, room))
}

// Deliveries returns the tasks with something to deliver now; see store.Store.
func (s *Store) Deliveries(_ context.Context, now time.Time, n int) ([]task.Task, error) {
	return s.load(s.index.deliveries(now, n))
}

// load returns the tasks of some IDs, without those that have no record any more.
func (s *Store) load(ids []string) ([]task.Task, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	tasks := make([]task.Task, 0, len(ids))
	err := s.view(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			switch t, _, err := find(tx, id); {
			case err == nil:
				tasks = append(tasks, t)
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	return tasks, err
}

// Changed says that something became due; see store.Store.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Next is when something becomes due by time; see store.Store.
func (s *Store) Next() time.Time { return s.index.next() }

// Depths are the open tasks; see store.Store.
func (s *Store) Depths() map[string]store.Depth { return s.index.depths() }

// Usage is how much is stored; see store.Store.
func (s *Store) Usage() store.Usage { return s.index.usage() }

// Close ends the store; see store.Store.
func (s *Store) Close() error {
	s.close.Do(func() { close(s.closing) })
	<-s.ended
	return s.db.Close()
}
