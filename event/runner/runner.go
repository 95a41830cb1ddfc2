package runner

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// Options of a Runner. Store, Send, Deliver and Owner are required.
type Options struct {
	Store store.Store
	// Send sends a try to the revision and returns the answer, as an http.RoundTripper does. Its context ends when the task is cancelled,
	// when its deadline passes and when the runner ends.
	Send func(revision string, r *http.Request) (*http.Response, error)
	// Deliver sends what became of a task to a URL; final says that another try would not help.
	Deliver func(ctx context.Context, url string, header http.Header, body []byte) (final bool, err error)
	// Owner is unique among the runners that share the store, and different after a restart.
	Owner string
	// Window is how many tasks of one revision run or wait in the request path at a time; 0 means 500. Total is how many of all revisions;
	// 0 means 1000. Deliveries is how many are sent at a time; 0 means 32.
	Window, Total, Deliveries int
	// ResultBytes is how much of the body of a result is kept; 0 means 10 MiB.
	ResultBytes int64
	// Lease is how long others leave a task alone that this runner runs, if it does not renew; 0 means 1 minute.
	Lease time.Duration
	// Logger may be nil.
	Logger hclog.Logger
}

const (
	// expireEvery is how often old results are removed.
	expireEvery = 30 * time.Second
	// storePause is the wait after a store has failed.
	storePause = time.Second
	// lastWrites is how long the records of the end may take when the runner ends.
	lastWrites = 5 * time.Second
)

// Runner runs tasks. Make it with New, then Run it.
type Runner struct {
	o     Options
	freed chan struct{} // holds a token when a task has left the request path
	ends  atomic.Bool   // Run's context has ended
	tasks sync.WaitGroup
	stats stats

	mu         sync.Mutex
	running    map[string]context.CancelCauseFunc // by ID
	perLine    map[string]int                     // tasks of each revision among them
	beginning  map[string]int                     // those of them whose beginning the store has not recorded
	delivering map[string]bool
}

// New makes a Runner.
func New(o Options) *Runner {
	o.Window, o.Total, o.Deliveries = cmp.Or(o.Window, 500), cmp.Or(o.Total, 1000), cmp.Or(o.Deliveries, 32)
	o.ResultBytes, o.Lease = cmp.Or(o.ResultBytes, 10<<20), cmp.Or(o.Lease, time.Minute)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Runner{
		o: o, freed: make(chan struct{}, 1), running: map[string]context.CancelCauseFunc{}, perLine: map[string]int{},
		beginning: map[string]int{}, delivering: map[string]bool{}, stats: newStats(),
	}
}

// errEnding is the cause of the end of tries that the end of the runner cuts.
var errEnding = errors.New("the runner has ended")

// errCancelled is the cause of the end of a try whose task was cancelled.
var errCancelled = errors.New("the task was cancelled")

// Run runs tasks until ctx ends. Then it begins none any more, and those that run are cut off when cut ends; they are tried again at the
// next start, without counting the try. It returns when nothing runs.
func (r *Runner) Run(ctx, cut context.Context) {
	runs, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	defer context.AfterFunc(cut, func() { stop(errEnding) })()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.ends.Store(true)
			r.tasks.Wait()
			return
		case <-expire.C:
			if _, err := r.o.Store.Expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
				r.o.Logger.Warn("old results could not be removed", "error", err)
			}
			continue
		case <-r.o.Store.Changed():
		case <-r.freed:
		case <-timer.C:
		}
		if err := r.fill(runs); err != nil && ctx.Err() == nil {
			r.o.Logger.Warn("the task store cannot be read", "error", err)
			timer.Reset(storePause)
			continue
		}
		r.rearm(timer)
	}
}

// rearm has the timer end when something becomes due by its time alone.
func (r *Runner) rearm(timer *time.Timer) {
	timer.Stop()
	if next := r.o.Store.Next(); !next.IsZero() {
		timer.Reset(max(time.Until(next), time.Millisecond))
	}
}

// fill begins what is due and has room.
func (r *Runner) fill(runs context.Context) error {
	now := time.Now()
	due, err := r.o.Store.Due(runs, now, r.room())
	if err != nil {
		return err
	}
	for i := range due {
		if ctx, ok := r.enter(runs, &due[i]); ok {
			r.tasks.Go(func() { r.run(ctx, due[i]) })
		}
	}
	deliveries, err := r.o.Store.Deliveries(runs, now, r.o.Deliveries)
	if err != nil {
		return err
	}
	for i := range deliveries {
		if r.enterDelivery(deliveries[i].ID) {
			r.tasks.Go(func() { r.deliver(runs, deliveries[i]) })
		}
	}
	return nil
}

// room returns how many tasks of a revision are wanted: as many as there is room for, and those that begin, which are due in the store
// until it has recorded that.
func (r *Runner) room() func(string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, lines, beginning := r.o.Total-len(r.running), maps.Clone(r.perLine), maps.Clone(r.beginning)
	return func(revision string) int {
		n := min(r.o.Window-lines[revision], left)
		if n <= 0 {
			return 0
		}
		left -= n
		return n + beginning[revision]
	}
}

// enter takes a task among those that run. It is false if it is there already, or there is no room.
func (r *Runner) enter(runs context.Context, t *task.Task) (context.Context, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[t.ID] != nil || len(r.running) >= r.o.Total || r.perLine[t.Revision] >= r.o.Window {
		return nil, false
	}
	ctx, cancel := context.WithCancelCause(runs)
	r.running[t.ID] = cancel
	r.perLine[t.Revision]++
	r.beginning[t.Revision]++
	return ctx, true
}

// begun notes that the store has recorded the beginning of a task, or will not.
func (r *Runner) begun(revision string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	decrement(r.beginning, revision)
}

func (r *Runner) leave(t *task.Task) {
	r.mu.Lock()
	r.running[t.ID](nil)
	delete(r.running, t.ID)
	decrement(r.perLine, t.Revision)
	r.mu.Unlock()
	r.again()
}

// decrement keeps no zeros, so that the map does not grow with the revisions that there have been.
func decrement(counts map[string]int, key string) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// again has Run look for what is due.
func (r *Runner) again() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

// Cancelled ends the try of a task that a client has cancelled, if it runs here.
func (r *Runner) Cancelled(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.running[id]; cancel != nil {
		cancel(errCancelled)
	}
}

// Backlog is how many tasks of each revision are due and wait in the store: those that the request path does not know of.
func (r *Runner) Backlog() map[string]int {
	all := map[string]int{}
	for revision, d := range r.o.Store.Depths() {
		if d.Due > 0 {
			all[revision] = d.Due
		}
	}
	return all
}

// run is one try of a task.
func (r *Runner) run(ctx context.Context, t task.Task) {
	defer r.leave(&t)
	begun, err := r.change(ctx, t.ID, nil, func(t *task.Task) error { return t.Begin(time.Now(), r.lease()) })
	r.begun(t.Revision)
	if err != nil || begun.State != task.Running {
		r.ended(&begun, err)
		return
	}
	if !begun.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, begun.Deadline)
		defer cancel()
	}
	stop := r.renew(ctx, begun.ID)
	outcome := r.try(ctx, &begun)
	stop()
	r.stats.try(begun.Revision, outcome.Result, outcome.Why)
	after, err := r.change(context.WithoutCancel(ctx), t.ID, outcome.Result, func(t *task.Task) error {
		outcome.Now, outcome.Random = time.Now(), rand.Float64()
		if outcome.Result == nil && context.Cause(ctx) == errEnding { //nolint:errorlint // it is the cause itself
			return t.Interrupt(outcome.Now, r.o.Owner)
		}
		return t.Finish(outcome)
	})
	r.ended(&after, err)
}

func (r *Runner) lease() task.Lease {
	return task.Lease{Owner: r.o.Owner, Until: time.Now().Add(r.o.Lease)}
}

// renew keeps the lease of a task until stop is called. Where the lease is lost, the try ends.
func (r *Runner) renew(ctx context.Context, id string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(r.o.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_, err := r.o.Store.Change(ctx, id, nil, func(t *task.Task) error { return t.Renew(r.lease()) })
			if errors.Is(err, task.ErrNotLeased) || errors.Is(err, store.ErrNotFound) {
				r.Cancelled(id)
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// change applies a step. It repeats that as long as the store fails, because what has happened must not be forgotten, and gives up
// some time after the runner has ended.
func (r *Runner) change(ctx context.Context, id string, result *task.Result, step func(*task.Task) error) (task.Task, error) {
	failed := time.Time{}
	for {
		t, err := r.o.Store.Change(ctx, id, result, step)
		if err == nil || ctx.Err() != nil || final(err) {
			return t, err
		}
		if failed.IsZero() {
			failed = time.Now()
			r.o.Logger.Error("a step of a task cannot be recorded; it is tried again", "task", id, "error", err)
		}
		if r.ends.Load() && time.Since(failed) > lastWrites {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, err
		case <-time.After(storePause):
		}
	}
}

// final says that a step fails again if it is repeated.
func final(err error) bool {
	for _, known := range []error{
		store.ErrNotFound, store.ErrClosed, task.ErrNotDue, task.ErrNotLeased, task.ErrEnded, task.ErrOpen,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// ended notes what has become of a task.
func (r *Runner) ended(t *task.Task, err error) {
	switch {
	case err == nil && t.State == task.Failed:
		r.stats.ended(t)
		r.o.Logger.Info("a task failed", "task", t.ID, "revision", t.Revision, "tries", t.Tried, "why", t.Why)
	case err == nil && !t.State.Open():
		r.stats.ended(t)
	case err == nil, errors.Is(err, task.ErrNotDue), errors.Is(err, task.ErrNotLeased), errors.Is(err, store.ErrNotFound),
		errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, errEnding), errors.Is(err, errCancelled):
	default:
		r.o.Logger.Error("a task stays as it is in the store, and is run again after its lease", "task", t.ID, "error", err)
	}
}
