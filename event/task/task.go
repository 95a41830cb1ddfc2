package task

import (
	"slices"
	"time"
)

// State is where a Task is in its life.
type State string

// The states of a Task. Waiting and Running are open, the others are the end.
const (
	Waiting   State = "waiting"   // for its next try, which Due allows
	Running   State = "running"   // a try has begun
	Done      State = "done"      // a try was answered, with a status that is no failure
	Failed    State = "failed"    // no try is left, or the deadline is over; the dead-letter sink gets it
	Cancelled State = "cancelled" // by a client
)

// States are all of them.
var States = []State{Waiting, Running, Done, Failed, Cancelled}

// Open says that the Task has not ended.
func (s State) Open() bool { return s == Waiting || s == Running }

// Valid says that there is such a state.
func (s State) Valid() bool { return slices.Contains(States, s) }

// Task is one asynchronous request: what is known about it and what has become of it. The request itself and its result are kept beside
// it, because a Task is written at every step and these are written once.
type Task struct {
	// ID is what clients know it by; see NewID.
	ID string `json:"id"`
	// Revision is who runs it, as namespace/name. Host is the host that its client asked.
	Revision string `json:"revision"`
	Host     string `json:"host,omitempty"`
	// Key says which tasks are the same one: see Key. Empty means that no other is the same.
	Key string `json:"key,omitempty"`
	// Sender is among whom tasks are shared fairly, Source and Event what a CloudEvent calls itself; each may be empty.
	Sender string `json:"sender,omitempty"`
	Source string `json:"source,omitempty"`
	Event  string `json:"event,omitempty"`
	// Accepted is when it was recorded. Deadline is when its last try ends at the latest; zero means none.
	Accepted time.Time `json:"accepted"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Retry says how often it is tried, and when.
	Retry Retry `json:"retry"`
	// Callback is the URL that gets the result, DeadLetter the one that gets the request of a Task that failed. Each may be empty.
	Callback   string `json:"callback,omitempty"`
	DeadLetter string `json:"deadLetter,omitempty"`

	State State `json:"state"`
	// Due is before when a Task that waits is not tried.
	Due time.Time `json:"due,omitzero"`
	// Lease says who runs it and until when it is that one's alone; zero in every other state.
	Lease Lease `json:"lease,omitzero"`
	// Tries are the newest tries, the oldest first, at most MaxTries of them. Tried is how many have begun since the Task was accepted or
	// retried by a client.
	Tries []Try `json:"tries,omitempty"`
	Tried int   `json:"tried"`
	// Ended is when it ended, Why is the sentence about its state.
	Ended time.Time `json:"ended,omitzero"`
	Why   string    `json:"why,omitempty"`
	// Status and Size are those of the result: the status of its response, and the bytes of its body. Status is 0 without one.
	Status int `json:"status,omitempty"`
	Size   int `json:"size,omitempty"`
	// Deliveries are the sending of what became of it: to the callback, and of a dead letter. There are none before it has ended.
	Deliveries []Delivery `json:"deliveries,omitempty"`
}

// Lease is the right of one runner to run a Task until a moment. Who runs it begins a Lease and renews it; after Until others may take
// the Task, and count the try.
type Lease struct {
	// Owner is the runner, unique among those that share a store and different after its restart.
	Owner string    `json:"owner"`
	Until time.Time `json:"until"`
}

// Try is one run of a Task.
type Try struct {
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"`
	// Status is that of the response, 0 without one.
	Status int `json:"status,omitempty"`
	// Replica is who answered, where that is known.
	Replica string `json:"replica,omitempty"`
	// Why says what was wrong; empty when nothing was.
	Why string `json:"why,omitempty"`
}

// Delivery is the sending of what became of a Task.
type Delivery struct {
	// URL is where it goes, Letter says that it is the request as a dead letter and not the result.
	URL    string `json:"url"`
	Letter bool   `json:"letter,omitempty"`
	// Due is when it is tried next; zero when it is over. Tried is how often it was tried.
	Due   time.Time `json:"due,omitzero"`
	Tried int       `json:"tried"`
	// Sent says that it has arrived. Why says what was wrong with the last try.
	Sent bool   `json:"sent,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Request is what a Task sends to its revision.
type Request struct {
	Method string `json:"method"`
	// Target is path and query, as the client wrote them.
	Target string              `json:"target"`
	Host   string              `json:"host"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"`
}

// Result is the response of the last try.
type Result struct {
	Status int                 `json:"status"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"`
	// Cut says that the body was longer than is kept.
	Cut bool `json:"cut,omitempty"`
}

// Next returns when something is to be done about a Task: the next try, the end of the Lease of a runner that may have died, or a
// delivery. It is zero when nothing is left to do.
func (t *Task) Next() time.Time {
	switch t.State {
	case Waiting:
		return t.Due
	case Running:
		return t.Lease.Until
	}
	var next time.Time
	for _, d := range t.Deliveries {
		if !d.Due.IsZero() && (next.IsZero() || d.Due.Before(next)) {
			next = d.Due
		}
	}
	return next
}

// Kept says that the record is still needed at a moment: the Task is open, or has something to deliver, or ended less than the retention
// before.
func (t *Task) Kept(now time.Time, retention time.Duration) bool {
	return t.State.Open() || !t.Next().IsZero() || now.Before(t.Ended.Add(retention))
}
