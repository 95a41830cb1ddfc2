package external

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/model"
)

// Options of a Runner.
type Options struct {
	Logger hclog.Logger
	// Propose and Withdraw get what scalers ask for. They must not block.
	Propose  func(revision model.Key, uid string, p model.Proposal)
	Withdraw func(revision model.Key, uid, signal string)
	// Status gets what became of a Scaler, whenever that changes; nil means that nobody wants to know. It must not block.
	Status func(scaler model.Key, s model.ScalerStatus)
	// Loopback permits servers on this machine. In a cluster this machine is the controller's own pod.
	Loopback bool
}

// Runner asks the sources of all Scalers. It is made by New. Its methods may be called from any goroutine, and they never block.
type Runner struct {
	options     Options
	log         hclog.Logger
	connections *connections
	ctx         context.Context // of all workers
	cancel      context.CancelFunc
	running     sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	workers map[model.Key]*worker
	ready   map[model.Named]int // replicas
	closed  bool
}

// New makes a Runner.
func New(o Options) *Runner {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Status == nil {
		o.Status = func(model.Key, model.ScalerStatus) {}
	}
	r := &Runner{
		options: o, log: o.Logger, workers: map[model.Key]*worker{}, ready: map[model.Named]int{},
		connections: &connections{dialer: dialer{o.Loopback}, all: map[endpoint][]*connection{}},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Run waits until the context ends, and then ends all that Set has started.
func (r *Runner) Run(ctx context.Context) {
	<-ctx.Done()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
}

// Set adds or changes a Scaler. What it has proposed stays until it has an answer by its new settings. Its fields must not be changed
// afterwards.
func (r *Runner) Set(s model.Scaler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	w := r.workers[s.Key]
	if w == nil {
		w = newWorker(r, s.Key)
		r.workers[s.Key] = w
		r.running.Go(w.run)
	}
	w.set(s)
}

// Remove ends a Scaler, and withdraws what it has proposed.
func (r *Runner) Remove(key model.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.workers[key]; w != nil {
		delete(r.workers, key)
		w.remove()
	}
}

// Running takes how many replicas of a revision are ready, by which Value scales.
func (r *Runner) Running(s model.WorkloadStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := model.Named{Revision: s.Revision, UID: s.UID}
	if len(s.Ready) == 0 {
		delete(r.ready, of)
		return
	}
	r.ready[of] = len(s.Ready)
}

func (r *Runner) readyOf(of model.Named) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready[of]
}

// open returns the source of a Scaler.
func (r *Runner) open(s *model.Scaler) (source, error) {
	if s.Problem != "" || s.External == nil && s.Prometheus == nil {
		return nil, errors.New(strings.TrimSuffix(cmp.Or(s.Problem, "there is no source"), "."))
	}
	if s.Prometheus != nil {
		return newPrometheus(s.Prometheus, s.Target, r.connections.dialer)
	}
	conn, done, err := r.connections.get(endpoint{s.External.Address, s.External.TLS})
	if err != nil {
		return nil, err
	}
	return newKeda(conn, s, done), nil
}
