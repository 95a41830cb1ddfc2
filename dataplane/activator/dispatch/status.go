package dispatch

import (
	"context"
	"time"
)

// status is what the control plane has said of the revision, from which follows how long a request waits. The Dispatcher's mutex guards
// it.
type status struct {
	answered  bool      // the control plane has said something
	missing   bool      // it knows no such revision
	since     time.Time // of missing, or of failure
	endpoints int
	behind    bool          // requests come by activators although there are endpoints
	timeout   time.Duration // 0 is none
	failure   *Failure
	tasks     bool          // the requests are tasks, which may have deadlines
	start     Start         // of the first replica after zero
	appeared  time.Time     // when the first endpoint after zero arrived here
	changed   chan struct{} // closed when the deadline of a waiting request may have changed
}

// How long a request waits, unless the revision's timeout is shorter.
const (
	// UnknownPatience is for a revision that the control plane does not know: it may be about to appear.
	UnknownPatience = 2 * time.Second
	// FailedPatience is for a revision that cannot start: the request may cause another attempt.
	FailedPatience = time.Second
	// SilentPatience is for a revision of which the control plane has said nothing: Knative's default timeout.
	SilentPatience = 300 * time.Second
)

// apply takes an assignment. It reports whether it is the first and has endpoints: the waiting requests had waited only for it.
func (s *status) apply(a *Assignment, now time.Time) (first bool) {
	first = !s.answered && len(a.Endpoints) > 0
	if s.endpoints == 0 && len(a.Endpoints) > 0 {
		s.appeared = now
	}
	newFailure := !a.Failure.equal(s.failure)
	if newFailure {
		s.since = now
	}
	changed := !s.answered || s.missing || s.timeout != a.Timeout || s.tasks != a.Tasks || newFailure ||
		(s.endpoints == 0) != (len(a.Endpoints) == 0)
	s.answered, s.missing, s.endpoints = true, false, len(a.Endpoints)
	s.timeout, s.failure, s.start, s.behind, s.tasks = a.Timeout, a.Failure, a.Start, a.Behind, a.Tasks
	if changed {
		s.broadcast()
	}
	return first
}

// remove records that the control plane knows no such revision.
func (s *status) remove(now time.Time) {
	if s.missing {
		return
	}
	*s = status{answered: true, missing: true, since: now, timeout: s.timeout, changed: s.changed}
	s.broadcast()
}

// disconnected makes a missing revision one of which nothing is known.
func (s *status) disconnected() {
	if !s.missing {
		return
	}
	*s = status{timeout: s.timeout, changed: s.changed}
	s.broadcast()
}

func (s *status) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// deadline is until when a request waits, and the error that it then gets.
func (s *status) deadline(t *Ticket) (time.Time, error) {
	deadline, reason := t.Arrived.Add(SilentPatience), ErrTimeout
	if s.answered {
		deadline = t.Arrived.Add(noTimeout)
	}
	if s.timeout > 0 {
		deadline = t.Arrived.Add(s.timeout)
	}
	sooner := func(at time.Time, because error) {
		if at.Before(deadline) {
			deadline, reason = at, because
		}
	}
	if s.tasks && !t.Deadline.IsZero() {
		sooner(t.Deadline, ErrDeadline)
	}
	switch {
	case s.missing && t.Arrived.After(s.since):
		sooner(t.Arrived.Add(UnknownPatience), ErrUnknownRevision)
	case s.missing:
		sooner(s.since.Add(UnknownPatience), ErrUnknownRevision)
	case s.failure == nil || s.endpoints > 0:
	case t.Arrived.After(s.since):
		sooner(t.Arrived.Add(FailedPatience), s.failure)
	default:
		sooner(s.since, s.failure)
	}
	return deadline, reason
}

// noTimeout stands for no deadline.
const noTimeout = 1000 * time.Hour

// Status is the state of a Dispatcher at one moment.
type Status struct {
	// Answered says that the control plane has said something of the revision, Missing that it knows no such revision.
	Answered, Missing bool
	// Endpoints is how many replicas the revision has for all activators, Assigned how many this activator uses.
	Endpoints, Assigned int
	// Concurrency is how many requests a replica takes at a time; 0 is no limit.
	Concurrency int
	// Timeout is the revision's; 0 is none.
	Timeout time.Duration
	// Waiting is how many requests wait for a slot. Room says that a replica has one.
	Waiting int
	Room    bool
}

// Status returns the state of this moment.
func (d *Dispatcher) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{
		Answered: d.status.answered, Missing: d.status.missing, Endpoints: d.status.endpoints, Concurrency: d.limit,
		Timeout: d.status.timeout, Waiting: d.queue.waiting(), Room: d.policy.pick() != nil,
	}
	for _, r := range d.known {
		if r.assigned {
			s.Assigned++
		}
	}
	return s
}

// Behind reports whether requests come by activators although there are endpoints. It waits up to UnknownPatience for the control plane
// to say.
func (d *Dispatcher) Behind(ctx context.Context) bool { return d.said(ctx).behind }

// TakesTasks reports whether the requests of the revision are tasks. It waits up to UnknownPatience for the control plane to say.
func (d *Dispatcher) TakesTasks(ctx context.Context) bool { return d.said(ctx).tasks }

// said returns what the control plane has said of the revision, and waits for that up to UnknownPatience.
func (d *Dispatcher) said(ctx context.Context) status {
	patience, cancel := context.WithTimeout(ctx, UnknownPatience)
	defer cancel()
	for {
		d.mu.Lock()
		s := d.status
		d.mu.Unlock()
		if s.answered {
			return s
		}
		select {
		case <-s.changed:
		case <-patience.Done():
			return status{}
		}
	}
}

// ColdStart returns the newest start from zero, and when its first endpoint arrived here.
func (d *Dispatcher) ColdStart() (start Start, appeared time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status.start, d.status.appeared
}
