package dispatch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Dispatcher hands the requests of one revision to its replicas. Whenever a slot is free and a request waits, the request gets the slot
// before the mutex is released. Make it with New.
type Dispatcher struct {
	// Set once.
	maxWaiting int
	pending    *Pending
	onWait     func()
	onTask     func()

	// Guarded by mu.
	mu        sync.Mutex
	known     map[string]*Replica // by address: the assigned ones, and others that still have requests
	policy    policy
	limit     int  // requests per replica at a time; 0 is no limit
	direct    bool // the replicas have no queue-proxy
	queue     line
	most      int           // requests that may wait
	handsOver bool          // the only endpoint is the owner of the revision
	mean      time.Duration // of the tasks that have run
	number    uint64        // of the newest ticket
	meter     meter
	status    status
	used      time.Time // when a request last arrived or left
	notified  time.Time // when onWait was last called
	closed    bool
}

// Pending counts the requests that wait for a slot, of all dispatchers that share it, and bounds them.
type Pending struct {
	waiting atomic.Int64
	max     int64
}

// NewPending makes a bound of that many requests.
func NewPending(maximum int) *Pending { return &Pending{max: int64(maximum)} }

// Waiting is how many requests wait now.
func (p *Pending) Waiting() int64 { return p.waiting.Load() }

// New makes a Dispatcher without replicas, in which maxWaiting requests may wait. It calls onWait, without holding a lock, when a request
// begins to wait and none did before, at most once in NotifyPause.
func New(maxWaiting int, pending *Pending, onWait func()) *Dispatcher {
	return &Dispatcher{
		maxWaiting: maxWaiting, most: maxWaiting, pending: pending, onWait: onWait, onTask: onWait,
		known: map[string]*Replica{}, policy: newPolicy(0, nil),
		status: status{changed: make(chan struct{})}, used: time.Now(),
	}
}

var (
	// ErrClosed says that the Dispatcher was closed for being idle just before the request came.
	ErrClosed = errors.New("the dispatcher is closed")
	// ErrQueueFull says that as many requests wait as may.
	ErrQueueFull = errors.New("too many requests are waiting")
	// ErrTimeout says that no replica had a slot within the revision's timeout.
	ErrTimeout = errors.New("no replica had a slot within the timeout")
	// ErrUnknownRevision says that the control plane knows no such revision.
	ErrUnknownRevision = errors.New("there is no such revision")
)

// Enter brings in a request, which then holds a slot or waits for one. It fails with ErrQueueFull, of a task also with ErrNotOwner, or with
// ErrClosed. Leave must follow unless it fails with ErrClosed.
func (d *Dispatcher) Enter(t *Ticket) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.number++
	t.number = d.number
	t.cold = d.status.endpoints == 0
	d.used = t.Arrived
	d.meter.enter(t.Arrived, t.Stream)
	waiting := d.queue.waiting()
	var err error
	switch {
	case d.handsOver && t.Handed:
		err = ErrNotOwner
	case waiting == 0 && d.grant(t):
	case waiting >= d.most || d.pending.waiting.Load() >= d.pending.max:
		err = d.full()
	default:
		notify := d.enqueue(t, t.Arrived)
		d.mu.Unlock()
		if notify != nil {
			notify()
		}
		return nil
	}
	d.mu.Unlock()
	return err
}

// NotifyPause is the shortest time between two calls of a Dispatcher's onWait.
const NotifyPause = 100 * time.Millisecond

// enqueue puts a ticket at its place in the queue and returns what is to be called then, nil for nothing.
func (d *Dispatcher) enqueue(t *Ticket, now time.Time) (notify func()) {
	if t.turn == nil {
		t.turn = make(chan struct{}, 1)
	}
	d.queue.push(t)
	d.countWaiting(1)
	switch {
	case d.queue.tasks != nil:
		return d.onTask // each of them may need a replica of its own
	case d.queue.length == 1 && now.Sub(d.notified) >= NotifyPause:
		d.notified = now
		return d.onWait
	}
	return nil
}

func (d *Dispatcher) countWaiting(by int) {
	d.meter.waiting += by
	d.pending.waiting.Add(int64(by))
}

// grant gives a ticket the slot of a replica, if one has room.
func (d *Dispatcher) grant(t *Ticket) bool {
	r := d.policy.pick()
	if r == nil {
		return false
	}
	r.inFlight++
	if r.halfOpen {
		r.probing, t.probe = true, true
	}
	t.replica, t.timeout, t.recovering, t.direct = r, d.status.timeout, r.backOff > 0, d.direct
	if t.task, t.toOwner = d.queue.tasks != nil, d.handsOver && r.owner; t.task {
		t.granted = time.Now()
	}
	d.policy.update(r, r.room(d.limit))
	return true
}

// dispatch gives free slots to the waiting tickets, in order.
func (d *Dispatcher) dispatch() {
	for t := d.queue.head(); t != nil && d.grant(t); t = d.queue.head() {
		d.queue.take(t)
		d.countWaiting(-1)
		t.turn <- struct{}{}
	}
}

// Wait returns nil when the ticket holds a slot, and otherwise says why it gets none: with the cause of the end of ctx, ErrTimeout,
// ErrUnknownRevision or a Failure. The ticket must have entered.
//
// A ticket whose context has ended does not use its slot. When many clients give up at once, their requests would otherwise follow each
// other to the replica and fill its queue.
func (d *Dispatcher) Wait(ctx context.Context, t *Ticket) error {
	if t.turn == nil {
		return nil // it never waited
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.mu.Lock()
		deadline, reason := d.status.deadline(t)
		changed := d.status.changed
		d.mu.Unlock()
		timer.Reset(time.Until(deadline))
		select {
		case <-t.turn:
			return context.Cause(ctx)
		default:
		}
		select {
		case <-t.turn:
			return context.Cause(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-timer.C:
			if time.Now().Before(deadline) {
				continue
			}
			return reason
		}
	}
}

// Refused says that the ticket's replica cannot have received the request. The replica is ejected for its back-off, and the ticket goes
// back to its place in the queue; call Wait again.
func (d *Dispatcher) Refused(t *Ticket) {
	now := time.Now()
	d.mu.Lock()
	d.eject(t.replica)
	d.release(t)
	t.back = true
	notify := d.enqueue(t, now)
	d.dispatch()
	d.mu.Unlock()
	if notify != nil {
		notify()
	}
}

// Unsent says that the ticket's replica has not received the request, which nevertheless cannot be sent to another one.
func (d *Dispatcher) Unsent(t *Ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.eject(t.replica)
	if t.replica.assigned {
		d.policy.update(t.replica, t.replica.room(d.limit))
	}
}

// Connected says that the ticket's replica has accepted a connection. That ends its half-open state, though its application may still be
// gone.
func (d *Dispatcher) Connected(t *Ticket) {
	if !t.probe {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := t.replica
	t.probe = false
	r.halfOpen, r.probing = false, false
	if r.assigned {
		d.policy.update(r, r.room(d.limit))
	}
	d.dispatch()
}

// Answered says that the ticket's replica has answered. That resets its back-off.
func (d *Dispatcher) Answered(t *Ticket) {
	if !t.recovering {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.replica.backOff = 0
}

// eject sends no requests to a replica until its back-off is over.
func (d *Dispatcher) eject(r *Replica) {
	r.halfOpen = true
	if r.ejected || !r.assigned {
		return
	}
	r.ejected = true
	most := maxBackOff
	if d.queue.tasks != nil {
		most = taskBackOff
	}
	r.backOff = min(max(2*r.backOff, minBackOff), most)
	r.uneject = time.AfterFunc(r.backOff, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !r.assigned || !r.ejected {
			return
		}
		r.ejected = false
		d.policy.update(r, r.room(d.limit))
		d.dispatch()
	})
}

// release frees the slot that a ticket holds.
func (d *Dispatcher) release(t *Ticket) {
	r := t.replica
	t.replica = nil
	r.inFlight--
	if t.probe {
		t.probe, r.probing = false, false
	}
	switch {
	case r.assigned:
		d.policy.update(r, r.room(d.limit))
	case r.inFlight == 0:
		delete(d.known, r.Address)
	}
}

// Leave ends a request, which gives up its slot or its place in the queue. ok says whether it succeeded.
func (d *Dispatcher) Leave(t *Ticket, ok bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.waiting {
		d.queue.remove(t)
		d.countWaiting(-1)
	}
	if t.replica != nil {
		if t.task && ok {
			d.ran(t, now)
		}
		d.release(t)
	}
	d.used = now
	d.meter.leave(now, t.Stream, ok)
	d.dispatch()
}

// Apply takes a new assignment. index is this activator's position among the assignment's activators, -1 if it is not one of them.
func (d *Dispatcher) Apply(a *Assignment, index int) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.status.apply(a, now) {
		for t := d.queue.first; t != nil; t = t.next {
			t.cold = false // it waited for the assignment, not for a replica
		}
	}
	assigned, limit := d.applyTasks(a)
	if a.Concurrency > 0 && !a.Tasks {
		assigned = share(assigned, index, len(a.Activators))
	}
	d.direct = a.Direct
	d.setReplicas(assigned, limit)
	if a.Tasks {
		d.mark(a)
	}
	d.dispatch()
}

// setReplicas makes the replicas with these addresses the assigned ones, in this order.
func (d *Dispatcher) setReplicas(addresses []string, limit int) {
	before := make(map[*Replica]bool, len(d.known))
	for _, r := range d.known {
		before[r] = r.assigned
		r.assigned = false
	}
	replicas := make([]*Replica, 0, len(addresses))
	for _, address := range addresses {
		r := d.known[address]
		if r == nil {
			r = &Replica{Address: address}
			d.known[address] = r
		}
		if !before[r] { // another process may have the address now
			r.ejected, r.halfOpen, r.probing, r.backOff = false, false, false, 0
		}
		r.assigned = true
		replicas = append(replicas, r)
	}
	for address, r := range d.known {
		if r.assigned {
			continue
		}
		r.Pool.Close()
		if r.uneject != nil {
			r.uneject.Stop()
		}
		if r.inFlight == 0 {
			delete(d.known, address)
		}
	}
	d.limit, d.policy = limit, newPolicy(limit, replicas)
	for _, r := range replicas {
		if d.direct {
			r.Pool.Close() // nobody knows for how long an application keeps an idle connection
		} else {
			r.Pool.Open()
		}
		d.policy.update(r, r.room(limit))
	}
}

// Remove says that the control plane knows no such revision.
func (d *Dispatcher) Remove() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setReplicas(nil, d.limit)
	d.status.remove(time.Now())
}

// Disconnected says that the control plane cannot be reached: a revision that it did not know may exist by now.
func (d *Dispatcher) Disconnected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.disconnected()
}

// CloseIdle closes the Dispatcher if it has had no request for so long, and reports whether it did.
func (d *Dispatcher) CloseIdle(idle time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meter.inFlight > 0 || time.Since(d.used) < idle {
		return false
	}
	d.closed = true
	d.setReplicas(nil, 0)
	return true
}

// TakeLoad returns the load since the last call, and how many requests are in flight and, of those, waiting. Of tasks, in flight are those
// that need a replica.
func (d *Dispatcher) TakeLoad() (taken Load, inFlight, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	inFlight = d.meter.inFlight
	if d.queue.tasks != nil {
		inFlight = d.counted()
	}
	return d.meter.take(time.Now()), inFlight, d.meter.waiting
}

// Counts returns how many requests are in flight and, of those, waiting.
func (d *Dispatcher) Counts() (inFlight, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meter.inFlight, d.meter.waiting
}

// Replicas returns the assigned replicas and those that still have requests, sorted by address.
func (d *Dispatcher) Replicas() []*Replica {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*Replica, 0, len(d.known))
	for _, r := range d.known {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Replica) int { return cmp.Compare(a.Address, b.Address) })
	return all
}
