package dispatch

import (
	"time"

	"sluice.dev/sluice/dataplane/activator/upstream"
)

// Replica is one replica of a revision. It exists as long as an assignment names its address or a request is in flight to it, so that an
// address which returns still has its requests counted.
type Replica struct {
	// Address is its host:port. It is set once.
	Address string
	// Pool has the idle connections to it, and a mutex of its own.
	Pool upstream.Pool

	// The Dispatcher's mutex guards the rest.

	inFlight int
	live     bool // it takes further tasks, from this activator or from the owner
	owner    bool // it is the activator to which tasks are handed over
	assigned bool // it is in the assignment, and in this activator's share of it
	ejected  bool // it has refused a request, and gets none until its back-off is over
	halfOpen bool // it has refused a request, and gets one at a time until it accepts a connection
	probing  bool // such a request is under way
	backOff  time.Duration
	uneject  *time.Timer // ends ejected

	// The policy's.
	order      int // position among the replicas
	level      int // the list of leastLoaded, or the position in twoChoices; -1 is none
	prev, next *Replica
}

// The back-off of a replica that refuses requests. It doubles with each refusal until the replica answers a request.
const (
	minBackOff = 10 * time.Millisecond
	maxBackOff = 500 * time.Millisecond
	// taskBackOff bounds that of a replica that takes tasks: it may be busy with the task of an owner before this one.
	taskBackOff = 100 * time.Millisecond
)

// room reports whether the replica may get one more request; limit 0 is no limit.
func (r *Replica) room(limit int) bool {
	return r.assigned && !r.ejected && !r.probing && (limit == 0 || r.inFlight < limit)
}
