package process

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// Back-off between two lives of a replica: it doubles from firstBackOff up to longestBackOff, and starts over after a life
// of at least stable.
const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 10 * time.Second
	stable         = 30 * time.Second
)

// startTimeout is how long a replica that does not become ready may keep others from starting.
const startTimeout = 2 * time.Second

// replica keeps one replica running. When one of its containers ends, it ends the others and starts all of them again, with
// another port and another queue-proxy: a client that still has the old address must not reach a replica that is not ready.
type replica struct {
	// Set once.
	runtime *Runtime
	spec    model.Workload
	number  int
	logger  hclog.Logger
	report  func(report)

	// Only the replica's goroutine touches it.
	settle time.Duration // see Options.Settle; 0 if the revision has been ready before

	// Shared with the owner goroutine.
	streams atomic.Int64                     // how long streams may outlive a stop (time.Duration); 0 means as long as requests
	proxy   atomic.Pointer[queueproxy.Proxy] // of the current life; nil without a queue-proxy
}

// lastingAfter is how many lives in a row must end before they are ready until the failure counts as lasting.
const lastingAfter = 3

// run runs lives until stop ends, and returns when the replica is drained and has ended.
func (r *replica) run(stop context.Context) {
	pause := backoff.ExponentialBackOff{InitialInterval: firstBackOff, Multiplier: 2, MaxInterval: longestBackOff}
	var last *model.Failure
	for neverReady := 0; ; {
		if r.claimStart(stop) != nil {
			return
		}
		began := time.Now()
		ready, failure := r.live(stop, last)
		if stop.Err() != nil {
			return
		}
		if neverReady++; ready {
			neverReady = 0
		}
		reported := *failure // a copy: live has reported failure already, and others read it
		reported.Lasting = reported.Lasting || neverReady >= lastingAfter
		last = &reported
		r.report(report{failure: last})
		lived := time.Since(began)
		if lived >= stable {
			pause.Reset()
		}
		r.settle = min(max(r.runtime.opts.Settle, 2*lived), max(r.runtime.opts.Settle, stable)) // longer than the life that has failed
		wait := pause.NextBackOff()
		r.logger.Warn("replica failed", "reason", last.Reason, "message", last.Message, "restart-in", wait)
		select {
		case <-stop.Done():
			return
		case <-time.After(wait):
		}
	}
}

// cutStreams ends the streams in flight.
func (r *replica) cutStreams() {
	if p := r.proxy.Load(); p != nil {
		p.CutStreams()
	}
}

// isBusy reports whether requests are in flight. Without a queue-proxy it is not known.
func (r *replica) isBusy() bool {
	p := r.proxy.Load()
	return p != nil && p.Load().InFlight > 0
}

// claimStart waits until fewer than Options.Starts replicas are starting.
func (r *replica) claimStart(stop context.Context) error {
	select {
	case r.runtime.starts <- struct{}{}:
		return nil
	case <-stop.Done():
		return context.Cause(stop)
	}
}

// live runs one life and returns whether it was ever ready and why it failed; nil if stop ended it. last is the failure of the
// life before, which live reports until this one is ready.
func (r *replica) live(stop context.Context, last *model.Failure) (wasReady bool, failure *model.Failure) {
	started := onlyOnce(func() { <-r.runtime.starts })
	defer started()
	l, failure := newLife(r)
	defer l.end()
	if failure == nil {
		failure = l.start()
	}
	if failure != nil {
		return false, failure
	}
	r.logger.Debug("replica started", "port", l.port, "endpoint", l.endpoint)
	r.report(report{prober: l.serving, failure: last, started: l.started, containers: l.families()})
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-stop.Done():
			started()
			l.drain()
			r.logger.Debug("replica stopped")
			return wasReady, nil
		case c := <-l.exits:
			failure := c.exitFailure(r)
			r.report(report{failure: failure}) // at once, before the other containers have ended
			return wasReady, failure
		case failure := <-l.unhealthy:
			r.report(report{failure: failure})
			return wasReady, failure
		case health := <-l.health:
			ready := l.note(health)
			if ready {
				started()
				last, wasReady = nil, true
			}
			r.logger.Debug("readiness changed", "ready", ready, "endpoint", l.endpoint, "why", health.why)
			r.report(l.state(ready, last))
		case <-timeout.C:
			started()
		}
	}
}

// onlyOnce returns a function that calls f only the first time. Only one goroutine may call it.
func onlyOnce(f func()) func() {
	called := false
	return func() {
		if !called {
			called = true
			f()
		}
	}
}
