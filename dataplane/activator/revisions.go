package activator

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/activator/dispatch"
)

// revisionName is the namespace and name of a revision.
type revisionName struct{ namespace, name string }

// String is the name of the revision's endpoint assignment.
func (n revisionName) String() string { return n.namespace + "/" + n.name }

// revision is one that requests have come for, and whose endpoints are followed.
type revision struct {
	*dispatch.Dispatcher
	name revisionName
	// label is the name as the control plane and the logs have it.
	label string
}

// revisions are those that requests have come for lately. The request path reads the table without a lock; adding and removing
// take the mutex.
type revisions struct {
	table  sync.Map // revisionName → *revision
	length atomic.Int64

	mu      sync.Mutex
	byLabel map[string]*revision
	max     int
	make    func() *dispatch.Dispatcher
	follow  func(label string) // subscribes to a revision's endpoints
	leave   func(label string)
}

// enter brings a request into the dispatcher of its revision, which begins to be followed if it was not. The revision is nil if
// there are too many of them.
func (rs *revisions) enter(name revisionName, t *dispatch.Ticket) (*revision, error) {
	for {
		r := rs.get(name)
		if r == nil {
			return nil, errTooMany
		}
		if err := r.Enter(t); err != dispatch.ErrClosed { //nolint:errorlint // it is never wrapped
			return r, err
		}
	}
}

func (rs *revisions) get(name revisionName) *revision {
	if r, ok := rs.table.Load(name); ok {
		return r.(*revision)
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r, ok := rs.table.Load(name); ok {
		return r.(*revision)
	}
	if len(rs.byLabel) >= rs.max && !rs.makeRoom() {
		return nil
	}
	r := &revision{Dispatcher: rs.make(), name: name, label: name.String()}
	rs.byLabel[r.label] = r
	rs.table.Store(name, r)
	rs.length.Add(1)
	rs.follow(r.label)
	return r
}

// tries bounds how many revisions are looked at to find one that can be forgotten.
const tries = 100

// makeRoom forgets some revision that has no requests.
func (rs *revisions) makeRoom() bool {
	n := 0
	for _, r := range rs.byLabel {
		if rs.forget(r, 0) {
			return true
		}
		if n++; n == tries {
			break
		}
	}
	return false
}

// forget lets go of a revision that has had no request for so long. The caller holds the mutex.
func (rs *revisions) forget(r *revision, idle time.Duration) bool {
	if !r.CloseIdle(idle) {
		return false
	}
	delete(rs.byLabel, r.label)
	rs.table.Delete(r.name)
	rs.length.Add(-1)
	rs.leave(r.label)
	return true
}

// find returns the revision of an endpoint assignment, or nil.
func (rs *revisions) find(label string) *revision {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.byLabel[label]
}

func (rs *revisions) all() iter.Seq[*revision] {
	return func(yield func(*revision) bool) {
		rs.table.Range(func(_, r any) bool { return yield(r.(*revision)) })
	}
}

func (rs *revisions) count() int { return int(rs.length.Load()) }

// sweep forgets revisions that were idle for long, unknown ones sooner, and closes old connections of the others.
func (rs *revisions) sweep(idle, idleUnknown time.Duration) {
	now := time.Now()
	for r := range rs.all() {
		patience := idle
		if r.Status().Missing {
			patience = idleUnknown
		}
		rs.mu.Lock()
		gone := rs.forget(r, patience)
		rs.mu.Unlock()
		if gone {
			continue
		}
		for _, replica := range r.Replicas() {
			replica.Pool.Prune(now)
		}
	}
}

// maxName bounds a namespace and a revision's name, in bytes, as Kubernetes does.
const maxName = 253

// nameOf is the revision that a request is for.
func nameOf(namespace, name []string) (revisionName, error) {
	if len(namespace) != 1 || len(name) != 1 || !valid(namespace[0]) || !valid(name[0]) {
		return revisionName{}, errNoRevision
	}
	return revisionName{namespace[0], name[0]}, nil
}

func valid(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
