package activator

import "time"

// ticket is a request's place in its revision's queue. The dispatcher's mutex guards all of it but what is set before the
// request enters.
type ticket struct {
	stream  bool // counts as a stream: an upgrade or a gRPC request
	arrived time.Time

	number     uint64        // order of arrival
	turn       chan struct{} // gets one token when a replica was found; nil until the ticket waits
	waiting    bool
	replica    *replica      // whose slot it holds
	timeout    time.Duration // the revision's, when it got the slot; 0 is none
	trial      bool          // the replica is doubtful
	direct     bool          // it is an application, without a queue-proxy
	distrusted bool          // it had refused requests and answered none since
	cold       bool          // it arrived when there was no endpoint
	prev, next *ticket
}

// queue holds tickets in the order of their numbers.
type queue struct {
	first, last *ticket
	length      int
}

// push puts a ticket at its place: at the end, or before those that came later if it was in the queue before.
func (q *queue) push(t *ticket) {
	after := q.last
	if after != nil && after.number > t.number {
		// Taken back after a refused connection: those before it are other ones that were taken back, so there are few.
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

func (q *queue) remove(t *ticket) {
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
