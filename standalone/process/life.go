package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

const loopback = "127.0.0.1"

// defaultDrain is how long requests may take to finish where the revision has no timeout.
const defaultDrain = 30 * time.Second

// life is a replica from the start of its containers to their end. Its methods are called by the replica's goroutine
// alone, except those of probes, which only send to its channels.
type life struct {
	// Set before the goroutines of containers and probes start.
	replica  *replica
	ctx      context.Context // ends the probes and the proxy's goroutine
	cancel   context.CancelFunc
	port     int                // $PORT of the serving container
	proxy    *queueproxy.Proxy  // nil if the replica has none
	endpoint model.Endpoint     // where requests are taken
	metrics  string             // URL of the proxy's metrics
	serving  *queueproxy.Prober // of the serving container's readiness

	// Any goroutine of the life sends to these, and only the replica's goroutine receives.
	exits     chan *container
	unhealthy chan *model.Failure
	health    chan health
	group     sync.WaitGroup // all goroutines of the life

	// Only the replica's goroutine touches what follows.
	containers []*container
	started    time.Time    // when the serving container's process started
	since      time.Time    // when the replica became ready; zero while it is not
	notReady   map[int]bool // containers, by index
}

// health is a change of one container's readiness.
type health struct {
	container int
	ready     bool
	why       error // when not ready
}

// newLife prepares a life in which nothing runs yet. The life is not nil even with a failure, so that end can be called.
func newLife(r *replica) (*life, *model.Failure) {
	n := len(r.spec.Containers)
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{
		replica: r, ctx: ctx, cancel: cancel,
		exits: make(chan *container, n), unhealthy: make(chan *model.Failure), health: make(chan health),
		notReady: map[int]bool{},
	}
	port, err := r.runtime.ports.take()
	if err != nil {
		return l, startFailed("The machine has no free port for replica %d: %v.", r.number, err)
	}
	l.port = port
	if l.serving, err = l.prober(0, r.spec.Containers[0].Readiness); err != nil {
		return l, startFailed("Replica %d cannot be probed: %v.", r.number, err)
	}
	return l, nil
}

func startFailed(format string, args ...any) *model.Failure {
	return &model.Failure{Reason: "StartFailed", Message: fmt.Sprintf(format, args...)}
}

// start starts the proxy, the containers in their order, and their probes.
func (l *life) start() *model.Failure {
	r := l.replica
	if r.spec.Direct {
		l.endpoint = model.Endpoint{Host: loopback, Port: l.port}
	} else if failure := l.startProxy(); failure != nil {
		return failure
	}
	for i := range r.spec.Containers {
		c, failure := startContainer(r, i, l.port)
		if failure != nil {
			return failure
		}
		l.containers = append(l.containers, c)
		if i == 0 {
			l.started = c.began
		}
		l.group.Go(func() {
			c.wait()
			l.exits <- c
		})
	}
	for i := range r.spec.Containers {
		if failure := l.probe(i); failure != nil {
			return failure
		}
	}
	return nil
}

// startProxy starts the queue-proxy of the serving container.
func (l *life) startProxy() *model.Failure {
	r := l.replica
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return startFailed("The queue-proxy of replica %d cannot listen: %v.", r.number, err)
	}
	l.endpoint = model.Endpoint{Host: loopback, Port: listener.Addr().(*net.TCPAddr).Port}
	l.proxy = queueproxy.New(queueproxy.Options{
		Target:      net.JoinHostPort(loopback, strconv.Itoa(l.port)),
		Revision:    r.spec.Revision,
		Protocol:    r.spec.Protocol,
		Concurrency: r.spec.Concurrency,
		Timeout:     r.spec.Timeout, ResponseStart: r.spec.ResponseStart, Idle: r.spec.Idle,
		Ready: l.serving.Ready, ActivatorKey: r.runtime.opts.ActivatorKey,
		Transport:  r.runtime.transport,
		Logger:     r.logger.Named("queue-proxy"),
		Quiet:      r.runtime.opts.Quiet,
		RequestLog: r.runtime.opts.RequestLog,
		Tracer:     r.runtime.opts.Tracer,
		Labels: map[string]string{
			"namespace": r.spec.Revision.Namespace, "revision": r.spec.Revision.Name, "replica": strconv.Itoa(r.number),
		},
	})
	r.proxy.Store(l.proxy)
	l.metrics = r.runtime.metrics.add(l.endpoint.Port, l.proxy.Metrics())
	r.runtime.done.Go(func() {
		if err := l.proxy.Serve(listener); err != nil {
			r.logger.Error("queue-proxy failed", "error", err)
		}
	})
	return nil
}

// prober returns a prober of container i. A probe of the port that the manifest names goes to $PORT.
func (l *life) prober(i int, probe *model.Probe) (*queueproxy.Prober, error) {
	c := l.replica.spec.Containers[i]
	resolved := model.Probe{TCP: true}
	if probe != nil {
		resolved = *probe
	}
	port := l.port
	if i > 0 {
		port = c.Port
	} else if resolved.Port == c.Port {
		resolved.Port = 0
	}
	exec := func(ctx context.Context, command []string) error {
		return runCommand(ctx, l.replica, i, l.port, command)
	}
	return queueproxy.NewProber(resolved, net.JoinHostPort(loopback, strconv.Itoa(port)), exec)
}

// probe starts the probes of container i: startup first, then readiness and liveness in parallel.
func (l *life) probe(i int) *model.Failure {
	c := l.replica.spec.Containers[i]
	startup, err1 := l.prober(i, c.Startup)
	liveness, err2 := l.prober(i, c.Liveness)
	readiness, err3 := l.prober(i, c.Readiness)
	if err := errors.Join(err1, err2, err3); err != nil {
		return startFailed("Container %q cannot be probed: %v.", c.Name, err)
	}
	if i == 0 {
		readiness = l.serving
	}
	watchesReadiness := i == 0 || c.Readiness != nil
	if watchesReadiness || l.replica.settle > 0 {
		l.notReady[i] = true
	}
	l.group.Go(func() {
		if c.Startup != nil && !l.awaitStartup(c.Name, startup) {
			return
		}
		if c.Liveness != nil {
			l.group.Go(func() { l.watchLiveness(c, liveness) })
		}
		if watchesReadiness {
			l.watchReadiness(i, readiness)
		} else if l.replica.settle > 0 {
			l.awaitSettled(i)
		}
	})
	return nil
}

// awaitSettled reports a container without a readiness probe as ready when it has run for some time. A container that exits soon
// after its start must not make the replica ready.
func (l *life) awaitSettled(i int) {
	select {
	case <-time.After(l.replica.settle):
	case <-l.ctx.Done():
		return
	}
	select {
	case l.health <- health{i, true, nil}:
	case <-l.ctx.Done():
	}
}

func (l *life) awaitStartup(name string, p *queueproxy.Prober) bool {
	ctx, cancel := context.WithTimeout(l.ctx, p.Budget())
	defer cancel()
	err := p.Await(ctx)
	if err != nil {
		l.fail("StartupProbeFailed", fmt.Sprintf("Container %q did not start within %s: %v", name, p.Budget(), p.LastError()))
	}
	return err == nil
}

func (l *life) watchLiveness(c model.Container, p *queueproxy.Prober) {
	select {
	case <-time.After(c.Liveness.InitialDelay):
	case <-l.ctx.Done():
		return
	}
	p.Watch(l.ctx, true, func(ok bool, why error) {
		if !ok {
			l.fail("LivenessProbeFailed", fmt.Sprintf("Container %q was ended: %v", c.Name, why))
		}
	})
}

func (l *life) watchReadiness(i int, p *queueproxy.Prober) {
	if p.Await(l.ctx) != nil {
		return
	}
	report := func(ready bool, why error) {
		select {
		case l.health <- health{i, ready, why}:
		case <-l.ctx.Done():
		}
	}
	report(true, nil)
	p.Watch(l.ctx, true, report)
}

func (l *life) fail(reason, message string) {
	select {
	case l.unhealthy <- &model.Failure{Reason: reason, Message: message}:
	case <-l.ctx.Done():
	}
}

// note records one container's readiness and returns the replica's: all containers must be ready.
func (l *life) note(h health) bool {
	if h.ready {
		delete(l.notReady, h.container)
	} else {
		l.notReady[h.container] = true
	}
	return len(l.notReady) == 0
}

// state is the replica's report.
func (l *life) state(ready bool, last *model.Failure) report {
	switch {
	case !ready:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = time.Now()
	}
	return report{
		ready: ready, endpoint: l.endpoint, metrics: l.metrics, started: l.started, since: l.since,
		prober: l.serving, failure: last, containers: l.families(),
	}
}

// families are those of the containers.
func (l *life) families() []family {
	all := make([]family, len(l.containers))
	for i, c := range l.containers {
		all[i] = family{c.marker, c.began}
	}
	return all
}

// drain lets the requests in flight finish, and then asks the containers to end; end kills those that do not. drain takes at
// most the timeout of a request and the grace period.
func (l *life) drain() {
	r := l.replica.runtime
	bound, streams := l.drainTimes()
	ctx, cancel := context.WithTimeout(r.killing, bound)
	defer cancel()
	drained := make(chan struct{})
	l.group.Go(func() {
		defer close(drained)
		if err := l.awaitRequests(ctx, streams); err != nil && r.killing.Err() == nil {
			l.replica.logger.Warn("the drain took too long: requests in flight are cut off", "bound", bound, "error", err)
		}
	})
	for waiting := true; waiting; {
		select {
		case <-drained:
			waiting = false
		case c := <-l.exits: // a container has exited by itself; without the serving one no request can finish
			if c.index == 0 {
				cancel()
			}
		case <-l.health: // no longer of interest
		case <-l.unhealthy:
		}
	}
	l.terminate()
}

// drainTimes returns how long requests and streams may go on during the drain. 0 for streams means as long as requests.
func (l *life) drainTimes() (requests, streams time.Duration) {
	requests, streams = l.replica.spec.Timeout, time.Duration(l.replica.streams.Load())
	if requests <= 0 {
		requests = defaultDrain
	}
	return max(requests, streams), streams
}

// awaitRequests returns when no request is in flight and no more come; from then on the proxy turns requests away (see linger).
// Without a proxy the number of requests is unknown: then clients get Options.Quiet to learn that the replica ends, and the
// application finishes its requests after SIGTERM.
func (l *life) awaitRequests(ctx context.Context, streams time.Duration) error {
	if l.proxy != nil {
		if streams > 0 {
			defer time.AfterFunc(streams, l.proxy.CutStreams).Stop()
		}
		return l.proxy.Retire(ctx)
	}
	select {
	case <-time.After(l.replica.runtime.opts.Quiet):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// terminate sends the containers SIGTERM and waits until they have ended, at most for the grace period, or without a proxy for
// the timeout of a request if that is longer.
func (l *life) terminate() {
	r, bound := l.replica.runtime, l.replica.runtime.opts.Grace
	if l.proxy == nil {
		requests, _ := l.drainTimes()
		bound = max(bound, requests)
	}
	l.cancel() // otherwise a probe would fail because of the end
	for _, c := range l.containers {
		c.signal(syscall.SIGTERM)
	}
	grace := time.NewTimer(bound)
	defer grace.Stop()
	for _, c := range l.containers {
		select {
		case <-c.ended:
		case <-grace.C:
			return
		case <-r.killing.Done():
			return
		}
	}
}

// end kills the rest of the life and returns when all of its processes and goroutines have ended.
func (l *life) end() {
	l.cancel()
	if l.proxy != nil {
		l.replica.runtime.metrics.remove(l.endpoint.Port)
		l.proxy.Abandon()
	}
	for _, c := range l.containers {
		c.signal(syscall.SIGKILL)
	}
	l.group.Wait()
	l.linger()
}

// linger keeps the proxy for the grace period after the containers have ended. The proxy turns away requests of clients that do
// not know yet that the replica has ended, which takes long on a busy machine. Clients may send a request that was turned away to
// another replica, but not one whose connection broke. The next life does not wait for linger.
func (l *life) linger() {
	r := l.replica.runtime
	release := func() {
		if l.port != 0 {
			r.ports.release(l.port)
		}
	}
	if l.proxy == nil {
		release()
		return
	}
	r.done.Go(func() {
		select {
		case <-time.After(r.opts.Grace):
		case <-r.killing.Done():
		}
		ctx, cancel := context.WithTimeout(r.killing, r.opts.Grace)
		defer cancel()
		_ = l.proxy.Shutdown(ctx) // after that the kernel refuses connections
		release()
	})
}
