package activator

import "time"

// replica is one queue-proxy of a revision. All fields but those of pool belong to the dispatcher and are guarded by its mutex.
// It lives as long as an assignment names its address or a request is in flight to it, so that an address which comes back
// finds its requests still counted.
type replica struct {
	address string
	pool    pool

	inFlight int
	ours     bool // in the assignment, and in this activator's share of it
	away     bool // it refused a connection and is left alone for a moment
	doubtful bool // until a connection to it has succeeded, only one request at a time tries one
	tried    bool // such a request is under way
	pause    time.Duration
	comeBack *time.Timer // ends away

	// What the policy of the dispatcher keeps.
	order      int // position among the replicas
	level      int // the list of leastLoaded or the position in twoChoices; -1 is none
	prev, next *replica
}

// How long a replica that refused a request is left alone: it doubles with each time in a row, until the replica answers one.
const (
	minPause = 10 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// room tells whether the replica may get one more request; limit 0 is none.
func (r *replica) room(limit int) bool {
	return r.ours && !r.away && !r.tried && (limit == 0 || r.inFlight < limit)
}
