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

// revision is one that has had requests, and whose endpoints are subscribed to.
type revision struct {
	*dispatch.Dispatcher
	name revisionName
	// label is the name of its endpoint assignment.
	label string
	proof atomic.Pointer[proof] // for its queue-proxies; nil until the first request
}

// revisions are those that have had requests lately.
type revisions struct {
	// Set once.
	max         int
	make        func() *dispatch.Dispatcher
	subscribe   func(label string) // to a revision's endpoints
	unsubscribe func(label string)

	// Read without the mutex, written with it.
	table  sync.Map // revisionName → *revision
	length atomic.Int64

	// Guarded by mu.
	mu      sync.Mutex
	byLabel map[string]*revision
}

// enter brings a request into the dispatcher of its revision, and subscribes to a revision that is new. The revision is nil if there are
// too many of them.
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
	rs.subscribe(r.label)
	return r
}

// tries bounds how many revisions makeRoom tries to remove.
const tries = 100

// makeRoom removes some revision that has no requests.
func (rs *revisions) makeRoom() bool {
	n := 0
	for _, r := range rs.byLabel {
		if rs.remove(r, 0) {
			return true
		}
		if n++; n == tries {
			break
		}
	}
	return false
}

// remove removes a revision that has had no request for so long, and reports whether it did. The caller holds the mutex.
func (rs *revisions) remove(r *revision, idle time.Duration) bool {
	if !r.CloseIdle(idle) {
		return false
	}
	delete(rs.byLabel, r.label)
	rs.table.Delete(r.name)
	rs.length.Add(-1)
	rs.unsubscribe(r.label)
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

// sweep removes revisions that were idle for too long, sooner if the control plane does not know them, and closes old connections of the
// others.
func (rs *revisions) sweep(idle, idleUnknown time.Duration) {
	now := time.Now()
	for r := range rs.all() {
		limit := idle
		if r.Status().Missing {
			limit = idleUnknown
		}
		rs.mu.Lock()
		removed := rs.remove(r, limit)
		rs.mu.Unlock()
		if removed {
			continue
		}
		for _, replica := range r.Replicas() {
			replica.Pool.Prune(now)
		}
	}
}

// maxName bounds a namespace and a revision's name, in bytes, as Kubernetes does.
const maxName = 253

// nameOf returns the revision that the headers of a request name.
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
