package activator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// dispatcher hands the requests of one revision to its replicas: a queue in front of their slots. Whenever a slot is free and a
// request waits, both have found each other before the mutex is released.
type dispatcher struct {
	maxWaiting int
	all        *population // of all revisions together
	urge       func()      // is called, without the mutex, when a request begins to wait

	mu      sync.Mutex
	known   map[string]*replica // those of the assignment that are ours, and others that still have requests
	policy  policy
	limit   int  // requests per replica at a time; 0 is none
	direct  bool // no connection is used twice, since there is no queue-proxy at its end
	queue   queue
	number  uint64
	meter   meter
	outlook outlook
	used    time.Time // when a request last came or went
	urged   time.Time
	closed  bool // forgotten: no request may enter
}

// population counts the waiting requests of all revisions together and bounds them.
type population struct {
	waiting atomic.Int64
	max     int64
}

func newDispatcher(maxWaiting int, all *population, urge func()) *dispatcher {
	return &dispatcher{
		maxWaiting: maxWaiting, all: all, urge: urge,
		known: map[string]*replica{}, policy: newPolicy(0, nil),
		outlook: outlook{changed: make(chan struct{})}, used: time.Now(),
	}
}

// enter brings in a request. It holds a slot afterwards, or waits for one; errQueueFull says that it may not, errForgotten
// that the dispatcher is no longer in use. Unless it is errForgotten, leave must follow.
func (d *dispatcher) enter(t *ticket) error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return errForgotten
	}
	d.number++
	t.number = d.number
	t.cold = d.outlook.endpoints == 0
	d.used = t.arrived
	d.meter.enter(t.arrived, t.stream)
	if d.queue.length == 0 && d.grant(t) {
		d.mu.Unlock()
		return nil
	}
	if d.queue.length >= d.maxWaiting || d.all.waiting.Load() >= d.all.max {
		d.mu.Unlock()
		return errQueueFull
	}
	urge := d.enqueue(t, t.arrived)
	d.mu.Unlock()
	if urge {
		d.urge()
	}
	return nil
}

// urgePause is how long a revision's beginning to wait is not worth another report at once: while requests wait there is one
// every so often anyway.
const urgePause = 100 * time.Millisecond

// enqueue puts a ticket at its place and tells whether that is to be reported at once.
func (d *dispatcher) enqueue(t *ticket, now time.Time) (urge bool) {
	if t.turn == nil {
		t.turn = make(chan struct{}, 1)
	}
	d.queue.push(t)
	d.countWaiting(1)
	if d.queue.length == 1 && now.Sub(d.urged) >= urgePause {
		d.urged = now
		return true
	}
	return false
}

func (d *dispatcher) countWaiting(by int) {
	d.meter.waiting += by
	d.all.waiting.Add(int64(by))
}

// grant gives a ticket the slot of a replica, if one has room.
func (d *dispatcher) grant(t *ticket) bool {
	r := d.policy.pick()
	if r == nil {
		return false
	}
	r.inFlight++
	if r.doubtful {
		r.tried, t.trial = true, true
	}
	t.replica, t.timeout, t.distrusted, t.direct = r, d.outlook.timeout, r.pause > 0, d.direct
	d.policy.update(r, r.room(d.limit))
	return true
}

// dispatch gives slots to those who wait, in order.
func (d *dispatcher) dispatch() {
	for t := d.queue.first; t != nil && d.grant(t); t = d.queue.first {
		d.queue.remove(t)
		d.countWaiting(-1)
		t.turn <- struct{}{}
	}
}

// wait returns nil when the ticket holds a slot, or says why it is not going to. The ticket must have entered. Where the context has
// ended by the time that there is a slot, the request is not to use it: when many clients give up at once, their requests would
// follow each other to the replica, whose queue would be full of them when the next one comes.
func (d *dispatcher) wait(ctx context.Context, t *ticket) error {
	if t.turn == nil {
		return nil // it never waited
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.mu.Lock()
		by, why := d.outlook.patience(t)
		changed := d.outlook.changed
		d.mu.Unlock()
		timer.Reset(time.Until(by))
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
			if time.Now().Before(by) {
				continue
			}
			return why
		}
	}
}

// refused says that the replica whose slot the ticket holds cannot have received the request. The ticket goes back to its place
// in the queue; wait for it again.
func (d *dispatcher) refused(t *ticket) {
	now := time.Now()
	d.mu.Lock()
	d.avoid(t.replica)
	d.giveBack(t)
	urge := d.enqueue(t, now)
	d.dispatch()
	d.mu.Unlock()
	if urge {
		d.urge()
	}
}

// unsent says that the application of the ticket's replica is not there.
func (d *dispatcher) unsent(t *ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.avoid(t.replica)
	if t.replica.ours {
		d.policy.update(t.replica, t.replica.room(d.limit))
	}
}

// connected says that the ticket's replica accepts connections after all. Its application may be gone all the same.
func (d *dispatcher) connected(t *ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := t.replica
	t.trial = false
	r.doubtful, r.tried = false, false
	if r.ours {
		d.policy.update(r, r.room(d.limit))
	}
	d.dispatch()
}

// answered says that the ticket's replica has answered after it had refused requests.
func (d *dispatcher) answered(t *ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.replica.pause = 0
}

// avoid leaves a replica alone for a moment.
func (d *dispatcher) avoid(r *replica) {
	r.doubtful = true
	if r.away || !r.ours {
		return
	}
	r.away = true
	r.pause = min(max(2*r.pause, minPause), maxPause)
	r.comeBack = time.AfterFunc(r.pause, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !r.ours || !r.away {
			return
		}
		r.away = false
		d.policy.update(r, r.room(d.limit))
		d.dispatch()
	})
}

// giveBack frees the slot that a ticket holds.
func (d *dispatcher) giveBack(t *ticket) {
	r := t.replica
	t.replica = nil
	r.inFlight--
	if t.trial {
		t.trial, r.tried = false, false
	}
	switch {
	case r.ours:
		d.policy.update(r, r.room(d.limit))
	case r.inFlight == 0:
		delete(d.known, r.address)
	}
}

// leave ends a request: it gives up its place or its slot. ok tells whether it got a good answer.
func (d *dispatcher) leave(t *ticket, ok bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.waiting {
		d.queue.remove(t)
		d.countWaiting(-1)
	}
	if t.replica != nil {
		d.giveBack(t)
	}
	d.used = now
	d.meter.leave(now, t.stream, ok)
	d.dispatch()
}

// apply takes a new assignment. index is this activator's position among the assignment's activators, -1 if it has none.
func (d *dispatcher) apply(a *assignment, index int) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	mine := a.endpoints
	if a.concurrency > 0 {
		mine = share(mine, index, len(a.activators))
	}
	d.direct = a.direct
	d.setReplicas(mine, a.concurrency)
	if d.outlook.take(a, now) {
		for t := d.queue.first; t != nil; t = t.next {
			t.cold = false // they waited for the assignment, not for a replica
		}
	}
	d.dispatch()
}

// setReplicas makes the replicas with these addresses the ones in use, in this order.
func (d *dispatcher) setReplicas(addresses []string, limit int) {
	before := make(map[*replica]bool, len(d.known))
	for _, r := range d.known {
		before[r] = r.ours
		r.ours = false
	}
	replicas := make([]*replica, 0, len(addresses))
	for _, address := range addresses {
		r := d.known[address]
		if r == nil {
			r = &replica{address: address}
			d.known[address] = r
		}
		if !before[r] { // whoever is there now is somebody else
			r.away, r.doubtful, r.tried, r.pause = false, false, false, 0
		}
		r.ours = true
		replicas = append(replicas, r)
	}
	for address, r := range d.known {
		if r.ours {
			continue
		}
		r.pool.close()
		if r.comeBack != nil {
			r.comeBack.Stop()
		}
		if r.inFlight == 0 {
			delete(d.known, address)
		}
	}
	d.limit, d.policy = limit, newPolicy(limit, replicas)
	for _, r := range replicas {
		if d.direct {
			r.pool.close() // for how long an application keeps a connection is not known
		} else {
			r.pool.open()
		}
		d.policy.update(r, r.room(limit))
	}
}

// remove says that the revision does not exist, as far as the control plane knows.
func (d *dispatcher) remove() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setReplicas(nil, d.limit)
	d.outlook.vanish(time.Now())
}

// doubt says that the control plane cannot be heard.
func (d *dispatcher) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outlook.doubt()
}

// close forgets the dispatcher if it has had no request for so long, and tells whether it did.
func (d *dispatcher) close(idle time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meter.inFlight > 0 || time.Since(d.used) < idle {
		return false
	}
	d.closed = true
	d.setReplicas(nil, 0)
	return true
}

// report is the load since the last report, and how many requests are in flight and waiting.
func (d *dispatcher) report() (taken load, inFlight, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meter.take(time.Now()), d.meter.inFlight, d.meter.waiting
}

// replicas are those in use, sorted by address.
func (d *dispatcher) replicas() []*replica {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*replica
	for _, r := range d.known {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *replica) int { return cmp.Compare(a.address, b.address) })
	return all
}
