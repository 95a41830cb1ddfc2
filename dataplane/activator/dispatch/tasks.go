package dispatch

import (
	"cmp"
	"errors"
	"time"
)

var (
	// ErrDeadline says that the deadline of a task has passed.
	ErrDeadline = errors.New("the deadline of the task has passed")
	// ErrNotOwner says that another activator has handed a task over to one that is not the owner of its revision.
	ErrNotOwner = errors.New("this activator is not the owner of the revision")
)

// FullError says that as many tasks wait as may. It is an ErrQueueFull.
type FullError struct {
	// After is the time that those which wait will take, by the mean of the tasks before; 0 is unknown.
	After time.Duration
}

// Error implements error.
func (e *FullError) Error() string { return ErrQueueFull.Error() }

// Is says that it is an ErrQueueFull.
func (e *FullError) Is(target error) bool { return target == ErrQueueFull }

// line is the queue in front of the slots: first come, first served, or of tasks. The Dispatcher's mutex guards it.
type line struct {
	queue
	tasks *fair // nil unless the requests are tasks
}

func (l *line) waiting() int {
	if l.tasks != nil {
		return l.tasks.length
	}
	return l.length
}

func (l *line) push(t *Ticket) {
	if l.tasks != nil {
		l.tasks.push(t)
		return
	}
	l.queue.push(t)
}

// head returns the ticket that gets the next slot, nil when none waits.
func (l *line) head() *Ticket {
	if l.tasks != nil {
		return l.tasks.head()
	}
	return l.first
}

// take removes the head, which gets a slot.
func (l *line) take(t *Ticket) {
	if l.tasks != nil {
		l.tasks.take(t)
		return
	}
	l.queue.remove(t)
}

// remove removes a ticket that gives up.
func (l *line) remove(t *Ticket) {
	if l.tasks != nil {
		l.tasks.remove(t)
		return
	}
	l.queue.remove(t)
}

// asTasks has the queue be one of tasks, or not, and keeps those that wait.
func (l *line) asTasks(yes bool) {
	if yes == (l.tasks != nil) {
		return
	}
	before := *l
	*l = line{}
	if yes {
		l.tasks = &fair{}
	}
	for t := before.head(); t != nil; t = before.head() {
		before.take(t)
		l.push(t)
	}
}

// oldest returns the first arrival of those that wait, zero when none does.
func (l *line) oldest() time.Time {
	switch {
	case l.tasks != nil:
		return l.tasks.oldest()
	case l.first != nil:
		return l.first.Arrived
	}
	return time.Time{}
}

// OnTask has f called when a task begins to wait, without a lock, instead of what New got. Call it before the first request.
func (d *Dispatcher) OnTask(f func()) { d.onTask = f }

// Tasks says that the requests of the revision are known to be tasks.
func (d *Dispatcher) Tasks() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.tasks != nil
}

// full returns the error of a request that finds no room in the queue.
func (d *Dispatcher) full() error {
	if d.queue.tasks == nil {
		return ErrQueueFull
	}
	slots := 0
	for _, r := range d.known {
		if r.assigned && !r.owner {
			slots += max(1, d.limit)
		}
	}
	return &FullError{After: d.mean * time.Duration(d.queue.waiting()) / time.Duration(max(1, slots))}
}

// ran notes how long a task has taken, of which the mean counts the last ones most.
func (d *Dispatcher) ran(t *Ticket, now time.Time) {
	const last = 8
	took := now.Sub(t.granted)
	if d.mean == 0 {
		d.mean = took
	}
	d.mean += (took - d.mean) / last
}

// applyTasks takes the part of an assignment that concerns tasks. It returns whose slots are used, and how many each has: a revision with
// another owner has one endpoint, which is the owner, without a limit.
func (d *Dispatcher) applyTasks(a *Assignment) (endpoints []string, limit int) {
	d.queue.asTasks(a.Tasks)
	d.handsOver = a.Tasks && a.HandOver
	d.most = cmp.Or(a.MaxWaiting, d.maxWaiting)
	if d.handsOver {
		return []string{a.Owner}, 0
	}
	return a.Endpoints, a.Concurrency
}

// mark says of each replica whether it takes further requests from anybody, and whether it is the owner.
func (d *Dispatcher) mark(a *Assignment) {
	for _, r := range d.known {
		r.live, r.owner = false, d.handsOver && r.Address == a.Owner
	}
	for _, address := range a.Endpoints {
		if r := d.known[address]; r != nil {
			r.live = true
		}
	}
}

// counted is how many tasks need replicas: those that wait, and those that run at replicas which take further ones. One that was handed
// over counts at the owner, and one at a replica that ends after it needs no other replica.
func (d *Dispatcher) counted() int {
	n := d.queue.waiting()
	for _, r := range d.known {
		if r.live && !r.owner {
			n += r.inFlight
		}
	}
	return n
}

// Oldest returns for how long the first of the waiting requests has waited; 0 when none waits.
func (d *Dispatcher) Oldest(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.queue.oldest()
	if at.IsZero() {
		return 0
	}
	return max(0, now.Sub(at))
}
