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

// life is a replica from the start of its containers to the end of them. Its methods are called by the replica's
// goroutine alone; others only send to its channels.
type life struct {
	replica    *replica
	ctx        context.Context // ends the probes and the proxy's goroutine
	cancel     context.CancelFunc
	group      sync.WaitGroup
	port       int                // $PORT of the serving container
	proxy      *queueproxy.Proxy  // nil where none stands before the container
	endpoint   model.Endpoint     // where requests are taken
	metrics    string             // URL of the proxy's figures
	started    time.Time          // when the serving container's process existed
	since      time.Time          // when the replica became ready; zero while it is not
	serving    *queueproxy.Prober // of the serving container's readiness
	containers []*container

	exits     chan *container
	unhealthy chan *model.Failure
	health    chan health
	notReady  map[int]bool // containers, by index
}

// health is a change of one container's readiness.
type health struct {
	container int
	ready     bool
	why       error // when not ready
}

// newLife prepares a life in which nothing runs yet. It is not nil also when it fails, so that end can be called.
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

// start starts the proxy, the containers in their order, and what probes them.
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

// startProxy has a queue-proxy stand before the serving container, and tell its load.
func (l *life) startProxy() *model.Failure {
	r := l.replica
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return startFailed("Replica %d cannot have a queue-proxy: %v.", r.number, err)
	}
	l.endpoint = model.Endpoint{Host: loopback, Port: listener.Addr().(*net.TCPAddr).Port}
	l.proxy = queueproxy.New(queueproxy.Options{
		Target:      net.JoinHostPort(loopback, strconv.Itoa(l.port)),
		Revision:    r.spec.Revision,
		Protocol:    r.spec.Protocol,
		Concurrency: r.spec.Concurrency,
		Timeout:     r.spec.Timeout, ResponseStart: r.spec.ResponseStart, Idle: r.spec.Idle,
		Ready: l.serving.Ready, ActivatorToken: r.runtime.opts.ActivatorToken,
		Transport:  r.runtime.transport,
		Logger:     r.logger.Named("queue-proxy"),
		Quiet:      r.runtime.opts.Quiet,
		RequestLog: r.runtime.opts.RequestLog,
		Labels:     map[string]string{"namespace": r.spec.Revision.Namespace, "revision": r.spec.Revision.Name, "replica": strconv.Itoa(r.number)},
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

// probe starts what probes container i: startup first, then readiness and liveness beside each other.
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

// awaitSettled reports a container as ready that has run for some time: nothing else tells of one without a probe, and one that
// dies at its start should not have made the replica ready before.
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

// note takes in one container's readiness and returns the replica's: all of them must be ready.
func (l *life) note(h health) bool {
	if h.ready {
		delete(l.notReady, h.container)
	} else {
		l.notReady[h.container] = true
	}
	return len(l.notReady) == 0
}

// state is what the replica reports of itself.
func (l *life) state(ready bool, last *model.Failure) report {
	switch {
	case !ready:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = time.Now()
	}
	return report{
		ready: ready, endpoint: l.endpoint, metrics: l.metrics, started: l.started, since: l.since,
		prober: l.serving, failure: last,
	}
}

// drain lets the requests in flight finish, then asks the containers to end. What is left after that is for end. It
// takes as long as a request may, and the grace period.
func (l *life) drain() {
	r := l.replica.runtime
	bound, streams := l.patience()
	ctx, cancel := context.WithTimeout(r.killing, bound)
	defer cancel()
	drained := make(chan struct{})
	l.group.Go(func() {
		defer close(drained)
		if err := l.emptied(ctx, streams); err != nil && r.killing.Err() == nil {
			l.replica.logger.Warn("requests were cut off by the end of the drain", "bound", bound, "error", err)
		}
	})
	for waiting := true; waiting; {
		select {
		case <-drained:
			waiting = false
		case c := <-l.exits: // it ended by itself; without the serving one there is nothing to wait for
			if c.index == 0 {
				cancel()
			}
		case <-l.health: // of no interest any more
		case <-l.unhealthy:
		}
	}
	l.terminate()
}

// patience is how long the requests of a replica that is to end may take, and how long its streams; 0 for streams means
// as long as requests.
func (l *life) patience() (requests, streams time.Duration) {
	requests, streams = l.replica.spec.Timeout, time.Duration(l.replica.streams.Load())
	if requests <= 0 {
		requests = defaultDrain
	}
	return max(requests, streams), streams
}

// emptied returns when no request is in flight and none comes any more, or is turned away (see linger). Without a proxy nobody knows: the clients have a
// moment to learn that the replica is to end, and then it is the application that lets its requests finish.
func (l *life) emptied(ctx context.Context, streams time.Duration) error {
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

// terminate asks the containers to end and waits for that as long as the grace period, or without a proxy as long as
// their requests may take.
func (l *life) terminate() {
	r, patience := l.replica.runtime, l.replica.runtime.opts.Grace
	if l.proxy == nil {
		requests, _ := l.patience()
		patience = max(patience, requests)
	}
	l.cancel() // or the end would be taken for a failed probe
	for _, c := range l.containers {
		c.signal(syscall.SIGTERM)
	}
	grace := time.NewTimer(patience)
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

// end ends whatever of the life is left, at once, and returns when it is gone.
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

// linger has the proxy turn away, for as long as clients may not have learnt that the replica has ended (which takes them long on
// a machine that does not keep up), the requests that they send it: others may be sent these, which they could not if their connections broke. The next life does not wait for it.
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
		_ = l.proxy.Shutdown(ctx) // whoever still sends requests then is told by a refused connection
		release()
	})
}
