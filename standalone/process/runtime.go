package process

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

// Options configure a Runtime. Dir is required; zero values of the others have the defaults documented with them.
type Options struct {
	// Dir is the data directory. Logs go to Dir/logs, records of processes to Dir/processes. One Runtime may use it at a time.
	Dir string
	// Logger is where starts, ends and failures are logged. nil discards them.
	Logger hclog.Logger
	// Status is called with the status of a workload whenever the status changes: one call at a time, in order, from a
	// goroutine of the Runtime. It may call Run.
	Status func(model.WorkloadStatus)
	// Quiet is for how long a draining replica must get no request before it ends; 0 means 1 s.
	Quiet time.Duration
	// Grace is the time between SIGTERM and SIGKILL; 0 means 10 s.
	Grace time.Duration
	// Settle is how long a sidecar without a readiness probe must have run before its replica counts as ready. It holds for
	// replicas of revisions that have not been ready yet, and for replicas that have failed. 0 means 1 s.
	Settle time.Duration
	// LogLimit is the size in bytes at which a log file is renamed to NAME.1, replacing an older one; 0 means 10 MiB.
	LogLimit int64
	// LogRetention is how long the logs of a deleted revision are kept; 0 means an hour.
	LogRetention time.Duration
	// RequestLog gets a line for each request, as JSON; nil for none.
	RequestLog io.Writer
	// Bin is a folder that is first on the PATH of containers; empty for none.
	Bin string
	// ActivatorKey is how queue-proxies recognize activators; see queueproxy.Options.
	ActivatorKey contract.Key
	// Tracer makes the spans of the queue-proxies; nil makes none. Its owner closes it after the Runtime.
	Tracer *tracing.Tracer
	// Starts is how many replicas may be starting at a time; 0 means 8.
	Starts int
	// Replicas is how many replicas of all workloads together may exist at a time; 0 means no bound.
	Replicas int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Status == nil {
		o.Status = func(model.WorkloadStatus) {}
	}
	o.Quiet = cmp.Or(o.Quiet, time.Second)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.LogLimit = cmp.Or(o.LogLimit, 10<<20)
	o.Settle = cmp.Or(o.Settle, time.Second)
	o.LogRetention = cmp.Or(o.LogRetention, time.Hour)
	o.Starts = cmp.Or(o.Starts, 8)
	return o
}

// Runtime runs workloads as processes. It is made by New and ended by Close.
type Runtime struct {
	// Set once, by New.
	opts      Options
	transport *queueproxy.Transport
	ports     *ports
	records   *records
	starter   *starter
	families  *families
	metrics   *metrics
	meter     meter
	starts    chan struct{} // holds one value for each replica that is starting

	inbox   *mailbox // work for the owner goroutine
	outbox  *mailbox // calls of Options.Status
	killing context.Context
	kill    context.CancelFunc // ends every replica at once
	stop    context.CancelFunc // ends the goroutines below
	done    sync.WaitGroup     // all goroutines of the Runtime but the replicas'
	idle    chan struct{}      // closed when Close was called and the last replica has ended

	becomeIdle func() // closes idle

	// Only the owner goroutine touches what follows.
	workloads map[identity]*workload
	existing  map[model.Key]string // all revisions, running or not, with the UID that has been ready; empty if none has
	closing   bool
}

// New returns a Runtime that runs nothing yet. Before the Runtime starts a process it ends those that have survived an
// earlier Runtime of the same directory.
func New(opts Options) *Runtime {
	opts = opts.withDefaults()
	ctx, stop := context.WithCancel(context.Background())
	killing, kill := context.WithCancel(context.Background())
	r := &Runtime{
		opts:      opts,
		transport: queueproxy.NewTransport(),
		ports:     newPorts(),
		records:   newRecords(opts.Dir, opts.Logger),
		starter:   newStarter(),
		families:  newFamilies(),
		metrics:   &metrics{proxies: map[string]http.Handler{}},
		meter:     meter{readings: map[marker][]reading{}},
		starts:    make(chan struct{}, opts.Starts),
		inbox:     newMailbox(), outbox: newMailbox(),
		killing: killing, kill: kill, stop: stop,
		idle:      make(chan struct{}),
		workloads: map[identity]*workload{}, existing: map[model.Key]string{},
	}
	r.becomeIdle = sync.OnceFunc(func() { close(r.idle) })
	r.inbox.post(func() { r.records.endSurvivors("") })
	r.done.Go(func() { r.inbox.run(ctx) })
	r.done.Go(func() { r.outbox.run(ctx) })
	r.done.Go(func() { r.starter.run(ctx) })
	r.done.Go(func() { r.tidy(ctx) })
	return r
}

// Run makes the workload run as w says. It returns at once; Options.Status reports the result. The Runtime drains and stops
// replicas above w.Replicas. Another UID means that the revision was created again: then the Runtime drains and stops all
// replicas of the old one. Running what already runs changes nothing. A workload that has no replicas and should have none
// is not reported.
func (r *Runtime) Run(w model.Workload) {
	r.inbox.post(func() { r.reconcile(w) })
}

// Close drains and ends all replicas, and then ends the Runtime. When ctx ends first, Close kills the remaining replicas and
// returns the context's cause. No process is left in either case.
func (r *Runtime) Close(ctx context.Context) error {
	r.inbox.post(r.stopAll)
	var err error
	select {
	case <-r.idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
		r.kill()
		<-r.idle
	}
	r.stop()
	r.kill()
	r.done.Wait()
	r.transport.Close()
	return err
}

// tidy reaps orphans and removes old logs, periodically.
func (r *Runtime) tidy(ctx context.Context) {
	reaping := time.NewTicker(reapPeriod)
	defer reaping.Stop()
	logs := time.NewTicker(r.opts.LogRetention / 4)
	defer logs.Stop()
	for {
		select {
		case <-reaping.C:
			r.families.reapEnded()
		case <-logs.C:
			r.inbox.post(r.removeLogs)
		case <-ctx.Done():
			return
		}
	}
}

// mailbox is an unbounded queue of functions that run calls one after the other. Posting never blocks, so a function of one
// mailbox may post to any.
type mailbox struct {
	signal chan struct{} // set once

	mu    sync.Mutex
	queue []func() // guarded by mu
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// run calls the functions that are posted until ctx ends. It still calls those that were posted before that.
func (m *mailbox) run(ctx context.Context) {
	for {
		m.mu.Lock()
		queue := m.queue
		m.queue = nil
		m.mu.Unlock()
		for _, f := range queue {
			f()
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-m.signal:
		case <-ctx.Done():
			return
		}
	}
}
