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

// Back-off between two lives of a replica: it doubles from the first to the longest, and starts over after a life that
// lasted long enough to count as stable.
const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 10 * time.Second
	stable         = 30 * time.Second
)

// startPatience is how long a replica that does not become ready keeps others from starting.
const startPatience = 2 * time.Second

// replica keeps one replica running: when one of its containers ends, the rest of them end too, and it starts anew, with
// another port and another queue-proxy. So nobody who still knows the old address is sent to a replica that is not ready.
type replica struct {
	runtime *Runtime
	spec    model.Workload
	number  int
	logger  hclog.Logger
	report  func(report)
	settle  time.Duration                    // see Options.Settle; 0 for a replica that is like others that became ready
	streams atomic.Int64                     // time.Duration that streams may go on when the replica is stopped; 0 means no bound of their own
	proxy   atomic.Pointer[queueproxy.Proxy] // of the life that goes on, if it has one
}

// lastingAfter is how many lives in a row may end without having been ready before that counts as no passing trouble.
const lastingAfter = 3

// run returns when stop has ended and the replica is drained and gone.
func (r *replica) run(stop context.Context) {
	pause := backoff.ExponentialBackOff{InitialInterval: firstBackOff, Multiplier: 2, MaxInterval: longestBackOff}
	var last *model.Failure
	for fruitless := 0; ; {
		if r.claimStart(stop) != nil {
			return
		}
		began := time.Now()
		ready, failure := r.live(stop, last)
		if stop.Err() != nil {
			return
		}
		if fruitless++; ready {
			fruitless = 0
		}
		told := *failure // which live has reported already: others read it
		told.Lasting = told.Lasting || fruitless >= lastingAfter
		failure = &told
		last = failure
		r.report(report{failure: failure})
		lived := time.Since(began)
		if lived >= stable {
			pause.Reset()
		}
		r.settle = min(max(r.runtime.opts.Settle, 2*lived), max(r.runtime.opts.Settle, stable)) // it must last longer than the one before
		wait := pause.NextBackOff()
		r.logger.Warn("replica failed", "reason", failure.Reason, "message", failure.Message, "restart-in", wait)
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

// claimStart waits until fewer than Options.Starts replicas are starting.
func (r *replica) claimStart(stop context.Context) error {
	select {
	case r.runtime.starts <- struct{}{}:
		return nil
	case <-stop.Done():
		return context.Cause(stop)
	}
}

// live lives one life and returns whether it was ever ready, and what ended it; nil if stop did. Last is why the life before failed: it stays reported
// until this one is ready.
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
	r.report(report{prober: l.serving, failure: last})
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	for {
		select {
		case <-stop.Done():
			started()
			l.drain()
			r.logger.Debug("replica stopped")
			return wasReady, nil
		case c := <-l.exits:
			failure := c.exitFailure(r)
			r.report(report{failure: failure}) // at once, not when everything is cleared away
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
		case <-patience.C:
			started()
		}
	}
}

// onlyOnce returns a function that calls f the first time only. It is for one goroutine.
func onlyOnce(f func()) func() {
	called := false
	return func() {
		if !called {
			called = true
			f()
		}
	}
}
