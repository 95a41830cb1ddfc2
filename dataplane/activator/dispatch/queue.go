package dispatch

import "time"

// Ticket is a request's place in the queue of its revision, and then its slot. Stream and Arrived are set before Enter. The Dispatcher
// sets the rest; the request may read it by the methods while it holds a slot.
type Ticket struct {
	// Stream says that the request counts as a stream: an upgrade or a gRPC call.
	Stream bool
	// Arrived is when the request came.
	Arrived time.Time

	// Of a task, what its request asks for. Sender is who shares the slots with others; Deadline is zero for none. Handed says that
	// another activator has handed it over.
	Priority Priority
	Sender   string
	Deadline time.Time
	Handed   bool

	number     uint64        // order of arrival
	turn       chan struct{} // gets a token when the ticket gets a slot; nil unless it has waited
	waiting    bool
	replica    *Replica      // whose slot it holds
	timeout    time.Duration // the revision's, when the ticket got the slot
	probe      bool          // the replica is half-open
	direct     bool          // the replica has no queue-proxy
	recovering bool          // the replica has refused requests and has answered none since
	cold       bool          // there was no endpoint when it arrived
	task       bool          // it was a task when it got the slot
	toOwner    bool          // the replica is the revision's owner, to which it is handed over
	back       bool          // it has had a slot at a replica that refused it
	granted    time.Time     // when a task got its slot
	from       *sender       // whose queue it is in
	prev, next *Ticket
}

// Waited reports whether the request had to wait for a slot, or still does.
func (t *Ticket) Waited() bool { return t.turn != nil }

// Replica is the one whose slot the request holds.
func (t *Ticket) Replica() *Replica { return t.replica }

// Timeout is the revision's timeout; 0 is none.
func (t *Ticket) Timeout() time.Duration { return t.timeout }

// Direct reports whether the replica is an application without a queue-proxy.
func (t *Ticket) Direct() bool { return t.direct }

// Cold reports whether the revision had no endpoint when the request arrived.
func (t *Ticket) Cold() bool { return t.cold }

// Task reports whether the request is a task.
func (t *Ticket) Task() bool { return t.task }

// ToOwner reports whether the replica is another activator, to which the task is handed over.
func (t *Ticket) ToOwner() bool { return t.toOwner }

// queue holds tickets in the order of their numbers.
type queue struct {
	first, last *Ticket
	length      int
}

// push puts a ticket at its place: at the end, or, if it was in the queue before, before those that arrived later.
func (q *queue) push(t *Ticket) {
	after := q.last
	if after != nil && after.number > t.number {
		// It is back after a refused connection. The tickets before it are others that are back, so they are few.
		after = nil
		for next := q.first; next.number < t.number; next = next.next {
			after = next
		}
	}
	q.length++
	t.waiting = true
	t.prev = after
	if after == nil {
		t.next, q.first = q.first, t
	} else {
		t.next, after.next = after.next, t
	}
	if t.next == nil {
		q.last = t
	} else {
		t.next.prev = t
	}
}

func (q *queue) remove(t *Ticket) {
	q.length--
	t.waiting = false
	if t.prev == nil {
		q.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		q.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}
