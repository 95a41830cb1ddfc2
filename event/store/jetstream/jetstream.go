package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// markerTTL is how long the server remembers that a task was removed, for the watches of others.
const markerTTL = 10 * time.Minute

// Store is a store.Store in a bucket of JetStream.
type Store struct {
	// Set once by Open.
	options Options
	conn    *nats.Conn
	bucket  jetstream.KeyValue
	stream  jetstream.Stream
	watcher jetstream.KeyWatcher
	index   *index
	changed chan struct{}
	watched chan struct{} // closed when the goroutine that watches has ended

	close   sync.Once
	closing chan struct{} // closed by Close
}

var _ store.Store = (*Store)(nil)

// Open connects to the server, makes the bucket if there is none, and reads what is in it.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	conn, err := o.connect()
	if err != nil {
		return nil, err
	}
	s := &Store{
		options: o, conn: conn, index: newIndex(),
		changed: make(chan struct{}, 1), watched: make(chan struct{}), closing: make(chan struct{}),
	}
	if err := s.open(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening the bucket %s of JetStream: %w", o.Bucket, err)
	}
	go s.watch()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	js, err := jetstream.New(s.conn, jetstream.WithDefaultTimeout(s.options.Timeout))
	if err != nil {
		return err
	}
	if err := s.makeBucket(ctx, js); err != nil {
		return err
	}
	if s.bucket, err = js.KeyValue(ctx, s.options.Bucket); err != nil {
		return err
	}
	// The watch lives as long as the store, and not as long as the call that opens it.
	if s.watcher, err = s.bucket.Watch(context.WithoutCancel(ctx), tasks); err != nil {
		return err
	}
	for {
		select {
		case e := <-s.watcher.Updates():
			if e == nil {
				return nil // that was all there is
			}
			if err := s.take(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// makeBucket makes the bucket, or takes the one that there is. Its reads are answered by the server that orders the writes: with an answer
// of another one, Add could take a task for missing that there is.
func (s *Store) makeBucket(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: s.options.Bucket, Description: "Asynchronous tasks of Sluice.", History: 1, Storage: jetstream.FileStorage,
		Replicas: s.options.Replicas, LimitMarkerTTL: markerTTL,
	})
	if err != nil {
		return err
	}
	if s.stream, err = js.Stream(ctx, "KV_"+s.options.Bucket); err != nil {
		return err
	}
	config := s.stream.CachedInfo().Config
	config.AllowDirect = false
	s.stream, err = js.UpdateStream(ctx, config)
	return err
}

// watch takes what others write, until the store is closed.
func (s *Store) watch() {
	defer close(s.watched)
	for {
		select {
		case e, ok := <-s.watcher.Updates():
			if !ok {
				return
			}
			if e == nil {
				continue
			}
			// A value that cannot be read was reported when the store was opened, or is of a newer version, whose process runs it.
			_ = s.take(e)
			s.signal()
		case <-s.closing:
			return
		}
	}
}

func (s *Store) take(e jetstream.KeyValueEntry) error {
	if e.Operation() != jetstream.KeyValuePut {
		s.index.remove(strings.TrimPrefix(e.Key(), taskPrefix))
		return nil
	}
	r, err := decode[record](e.Key(), e.Value())
	if err == nil {
		s.index.put(&r, e.Revision())
	}
	return err
}

// signal tells the runner that something may be due.
func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Get returns a task; see store.Store.
func (s *Store) Get(ctx context.Context, id string) (task.Task, error) {
	r, _, err := s.read(ctx, id)
	return r.Task, err
}

// read returns the record of a task and its revision.
func (s *Store) read(ctx context.Context, id string) (record, uint64, error) {
	if err := validID(id); err != nil {
		return record{}, 0, err
	}
	e, err := s.bucket.Get(ctx, taskKey(id))
	if err != nil {
		return record{}, 0, s.known(err)
	}
	r, err := decode[record](e.Key(), e.Value())
	return r, e.Revision(), err
}

// Request returns the request of a task; see store.Store.
func (s *Store) Request(ctx context.Context, id string) (task.Request, error) {
	if err := validID(id); err != nil {
		return task.Request{}, err
	}
	return value[task.Request](ctx, s, requestKey(id))
}

// Result returns the result of a task; see store.Store.
func (s *Store) Result(ctx context.Context, id string) (task.Result, error) {
	r, _, err := s.read(ctx, id)
	if err == nil && r.Result == "" {
		err = store.ErrNotFound
	}
	if err != nil {
		return task.Result{}, err
	}
	return value[task.Result](ctx, s, r.Result)
}

func value[T any](ctx context.Context, s *Store, key string) (v T, err error) {
	e, err := s.bucket.Get(ctx, key)
	if err != nil {
		return v, s.known(err)
	}
	return decode[T](key, e.Value())
}

// known says an error in words of the store.
func (s *Store) known(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return store.ErrNotFound
	case errors.Is(err, nats.ErrConnectionClosed):
		return store.ErrClosed
	case errors.As(err, &api) && isFull(api.ErrorCode):
		return fmt.Errorf("%w (JetStream: %s)", store.ErrFull, api.Description)
	}
	return fmt.Errorf("asking JetStream about a task: %w", err)
}

// isFull says that an error of the server is about its room.
func isFull(code jetstream.ErrorCode) bool {
	const (
		insufficientResources = 10023
		memoryExceeded        = 10028
		storageExceeded       = 10047
		streamFull            = 10077 // the stream could not store, such as for its maximum bytes
	)
	switch code {
	case insufficientResources, memoryExceeded, storageExceeded, streamFull:
		return true
	}
	return false
}

// Due returns the tasks to run now; see store.Store.
func (s *Store) Due(ctx context.Context, now time.Time, room func(string) int) ([]task.Task, error) {
	return s.load(ctx, s.index.due(now, room))
}

// Deliveries returns the tasks with something to deliver now; see store.Store.
func (s *Store) Deliveries(ctx context.Context, now time.Time, n int) ([]task.Task, error) {
	return s.load(ctx, s.index.deliveries(now, n))
}

// List returns tasks by their IDs; see store.Store.
func (s *Store) List(ctx context.Context, q store.Query) ([]task.Task, error) {
	return s.load(ctx, s.index.list(q))
}

// questions is how many questions load has open at the server.
const questions = 32

// load returns the tasks of some IDs, in that order, without those that there are not any more.
func (s *Store) load(ctx context.Context, ids []string) ([]task.Task, error) {
	found, wrong := make([]*task.Task, len(ids)), make([]error, len(ids))
	slots := make(chan struct{}, questions)
	var all sync.WaitGroup
	for i, id := range ids {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			switch t, err := s.Get(ctx, id); {
			case err == nil:
				found[i] = &t
			case errors.Is(err, store.ErrNotFound):
				s.index.remove(id)
			default:
				wrong[i] = err
			}
		})
	}
	all.Wait()
	var list []task.Task
	for _, t := range found {
		if t != nil {
			list = append(list, *t)
		}
	}
	return list, errors.Join(wrong...)
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
	s.close.Do(func() {
		close(s.closing)
		_ = s.watcher.Stop() // the connection ends next
		s.conn.Close()
	})
	<-s.watched
	return nil
}
