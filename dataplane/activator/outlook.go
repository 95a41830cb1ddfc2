package activator

import (
	"fmt"
	"time"

	"sluice.dev/sluice/contract"
)

// outlook is what a waiting request may hope for. Its dispatcher's mutex guards it.
type outlook struct {
	answered  bool      // the control plane has said something about the revision
	missing   bool      // it said that there is no such revision
	since     time.Time // of missing, or of failure
	endpoints int
	behind    bool          // requests are to come by activators
	timeout   time.Duration // 0 is none
	failure   *failure
	start     origin        // how the first replica after none came about
	appeared  time.Time     // when the first endpoint after none was known here
	changed   chan struct{} // is closed when the answer to a waiting request's patience may have changed
}

// How long a request waits where the revision's timeout is not what ends it.
const (
	// unknownPatience is for a revision that does not exist, since it may just be appearing.
	unknownPatience = 2 * time.Second
	// failedPatience is for one that cannot start: the request may be what makes it start again.
	failedPatience = time.Second
	// silentPatience is for one of which the control plane has said nothing: Knative's default timeout.
	silentPatience = 300 * time.Second
)

// take learns from an assignment. It tells whether those who wait had only waited for it.
func (o *outlook) take(a *assignment, now time.Time) (onlyForThis bool) {
	onlyForThis = !o.answered && len(a.endpoints) > 0
	if o.endpoints == 0 && len(a.endpoints) > 0 {
		o.appeared = now
	}
	refailed := !a.failure.same(o.failure)
	if refailed {
		o.since = now
	}
	changed := !o.answered || o.missing || o.timeout != a.timeout || refailed || (o.endpoints == 0) != (len(a.endpoints) == 0)
	o.answered, o.missing, o.endpoints = true, false, len(a.endpoints)
	o.timeout, o.failure, o.start, o.behind = a.timeout, a.failure, a.start, a.behind
	if changed {
		o.broadcast()
	}
	return onlyForThis
}

// vanish learns that the revision does not exist.
func (o *outlook) vanish(now time.Time) {
	if o.missing {
		return
	}
	*o = outlook{answered: true, missing: true, since: now, timeout: o.timeout, changed: o.changed}
	o.broadcast()
}

// doubt learns that the control plane cannot be heard: a revision that did not exist may do so by now.
func (o *outlook) doubt() {
	if !o.missing {
		return
	}
	*o = outlook{timeout: o.timeout, changed: o.changed}
	o.broadcast()
}

func (o *outlook) broadcast() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// patience is until when a request waits, and what it is told then.
func (o *outlook) patience(t *ticket) (time.Time, error) {
	by, why := t.arrived.Add(silentPatience), error(errTimeout)
	if o.answered {
		by = t.arrived.Add(noTimeout)
	}
	if o.timeout > 0 {
		by = t.arrived.Add(o.timeout)
	}
	sooner := func(then time.Time, reason error) {
		if then.Before(by) {
			by, why = then, reason
		}
	}
	switch {
	case o.missing && t.arrived.After(o.since):
		sooner(t.arrived.Add(unknownPatience), errUnknownRevision)
	case o.missing:
		sooner(o.since.Add(unknownPatience), errUnknownRevision)
	case o.failure == nil || o.endpoints > 0:
	case t.arrived.After(o.since):
		sooner(t.arrived.Add(failedPatience), o.failure.refusal())
	default:
		sooner(o.since, o.failure.refusal())
	}
	return by, why
}

// noTimeout stands for waiting without an end.
const noTimeout = 1000 * time.Hour

// failure is why a revision cannot start.
type failure struct{ reason, message string }

func (f *failure) same(as *failure) bool { return f == as || f != nil && as != nil && *f == *as }

func (f *failure) refusal() error {
	return &refusal{status: 503, reason: contract.ReasonRevisionFailed, retryAfter: 5, message: fmt.Sprintf("the revision cannot start: %s: %s", f.reason, f.message)}
}
