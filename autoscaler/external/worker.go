package external

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"sluice.dev/sluice/model"
)

const (
	// jitter is the part of the time between two questions by which it varies, so that many scalers do not ask at the same moment.
	jitter = 0.1
	// readTimeout bounds all calls of one question together.
	readTimeout = 15 * time.Second
	// pushEvery and pushBurst bound how often a server may push. What it sends beyond that waits in its connection.
	pushEvery = 100 * time.Millisecond
	pushBurst = 10
	// firstWatch and lastWatch are the back-off before a stream that has ended is opened again.
	firstWatch = 500 * time.Millisecond
	lastWatch  = time.Minute
	// watchAgain is when a server is asked again whether it pushes.
	watchAgain = 10 * time.Minute
)

// worker follows one Scaler.
type worker struct {
	runner *Runner
	key    model.Key
	stop   context.CancelFunc
	ctx    context.Context // of the worker
	wake   chan struct{}   // the settings have changed, or the server has pushed

	// Guarded by mu.
	mu       sync.Mutex
	scaler   model.Scaler
	changed  bool // the source is not that of the settings
	removed  bool
	last     reading
	status   model.ScalerStatus
	reported model.ScalerStatus
	follows  map[model.Named]*follower
}

// follower is a revision that follows the Scaler.
type follower struct {
	hold     hold
	proposed map[string]model.Proposal // by signal
}

func newWorker(r *Runner, key model.Key) *worker {
	w := &worker{
		runner: r, key: key, wake: make(chan struct{}, 1), follows: map[model.Named]*follower{},
		status: model.ScalerStatus{Replicas: model.UnknownReplicas},
	}
	w.ctx, w.stop = context.WithCancel(r.ctx)
	return w
}

// set takes new settings.
func (w *worker) set(s model.Scaler) {
	w.mu.Lock()
	before := w.scaler
	w.scaler = s
	before.Revisions, s.Revisions = nil, nil
	w.changed = w.changed || !reflect.DeepEqual(before, s)
	w.mu.Unlock()
	w.nudge()
}

func (w *worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// remove ends the worker. The runner's lock is held, so nothing here may take it.
func (w *worker) remove() {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed = true
	for of := range w.follows {
		w.drop(of)
	}
}

// run asks until the Scaler is removed.
func (w *worker) run() {
	defer w.stop()
	var from source
	var watching *watching
	defer func() { watching.end(); closeSource(from) }()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		ask := false
		select {
		case <-w.ctx.Done():
			return
		case <-next.C:
			ask = true
		case <-w.wake:
		}
		s, changed := w.settings()
		switch {
		case changed:
			watching.end()
			closeSource(from)
			if from, watching = w.start(&s); from == nil {
				continue // the next settings may be right
			}
			ask = true
		case from == nil:
			w.propose(time.Now())
			continue
		default:
			if active, pushed := watching.take(); pushed {
				changed := w.pushed(active)
				ask = ask || changed && active
			}
		}
		w.propose(time.Now())
		if ask {
			w.ask(from)
			next.Reset(varied(s.Every))
		}
	}
}

func closeSource(s source) {
	if s != nil {
		s.close()
	}
}

// varied is a time within the jitter.
func varied(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64())) //nolint:gosec // it spreads load, and protects nothing
}

// settings returns the settings, and whether the source has to be opened again.
func (w *worker) settings() (model.Scaler, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := w.changed
	w.changed = false
	return w.scaler, changed
}

// start opens the source and its stream. It returns nil when the settings cannot be used, which is then in the status.
func (w *worker) start(s *model.Scaler) (source, *watching) {
	from, err := w.runner.open(s)
	if err != nil {
		w.failed(err)
		w.propose(time.Now())
		return nil, nil
	}
	return from, w.watch(from)
}

// ask asks the source and proposes what it says.
func (w *worker) ask(from source) {
	ctx, cancel := context.WithTimeout(w.ctx, readTimeout)
	defer cancel()
	r, err := from.read(ctx)
	if w.ctx.Err() != nil {
		return
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		w.failed(err)
	} else {
		w.answered(r)
	}
	w.propose(time.Now())
}

func (w *worker) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status.Failures++; w.status.Failures == 1 {
		w.runner.log.Warn("a scaler fails; without its figures nothing scales down", "scaler", w.key, "error", err)
	}
	w.status.Problem = err.Error()
}

func (w *worker) answered(r reading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status.Failures > 0 {
		w.runner.log.Info("a scaler answers again", "scaler", w.key, "failures before", w.status.Failures)
	}
	if !sameTargets(w.last.metrics, r.metrics) && len(w.last.metrics) > 0 && len(r.metrics) > 0 {
		w.runner.log.Info("the metrics of a scaler, or their targets, have changed", "scaler", w.key, "metrics", r.metrics)
	}
	w.status.Failures, w.status.Problem = 0, ""
	w.become(r)
}

// pushed takes what the source says by itself, and reports whether that is new. It counts even if the last question has failed.
func (w *worker) pushed(active bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	isNew := active != w.last.active || !w.status.Known || w.status.Problem != ""
	w.status.Problem = ""
	if isNew {
		w.become(reading{active: active})
	}
	return isNew
}

// become is called with mu held.
func (w *worker) become(r reading) {
	if !w.status.Known || w.status.Active != r.active {
		w.status.Since = time.Now()
	}
	w.last = r
	w.status.Known, w.status.Active, w.status.Metrics = true, r.active, r.metrics
}

func sameTargets(a, b []model.ScalerMetric) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Target != b[i].Target {
			return false
		}
	}
	return true
}

// watching is a stream by which a source pushes.
type watching struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	active bool
	pushed bool
}

func (s *watching) end() {
	if s != nil {
		s.cancel()
		<-s.done
	}
}

// take returns what the source has pushed since the last call.
func (s *watching) take() (active, pushed bool) {
	if s == nil {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	active, pushed = s.active, s.pushed
	s.pushed = false
	return active, pushed
}

// watch keeps a stream of a source open until it is ended.
func (w *worker) watch(from source) *watching {
	ctx, cancel := context.WithCancel(w.ctx)
	s := &watching{cancel: cancel, done: make(chan struct{})}
	limit := rate.NewLimiter(rate.Every(pushEvery), pushBurst)
	again := backoff.NewExponentialBackOff()
	again.InitialInterval, again.MaxInterval = firstWatch, lastWatch
	go func() {
		defer close(s.done)
		for {
			err := from.watch(ctx, func(active bool) {
				again.Reset()
				s.mu.Lock()
				s.active, s.pushed = active, true
				s.mu.Unlock()
				w.nudge()
				_ = limit.Wait(ctx) // it fails when the context ends, and then the stream does
			})
			pause := again.NextBackOff()
			if errors.Is(err, errNoPush) {
				pause = watchAgain
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}()
	return s
}
