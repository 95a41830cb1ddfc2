// Package breaker limits how many requests are worked on at a time, and lets a bounded number of others wait in order.
//
// It stands in front of whatever has a concurrency limit: one replica behind its queue-proxy, or a whole revision
// behind an activator. It knows nothing of HTTP, of revisions or of time: how long to wait is the caller's context.
package breaker

import (
	"context"
	"errors"
	"math"
	"sync"
)

// Unlimited is the limit of a Breaker that lets everybody through and still counts them.
const Unlimited = math.MaxInt

// ErrFull is returned by Acquire when as many are waiting already as may wait. The text is the one Knative's clients see.
var ErrFull = errors.New("pending request queue full")

// Breaker is a concurrency limit with a bounded queue, first come first served. The zero value lets nobody
// through; use New. All methods may be called concurrently.
type Breaker struct {
	release func() // b.leave, bound once so that Acquire does not allocate

	mu      sync.Mutex
	limit   int
	depth   int
	running int
	waiting int
	first   *waiter // the one that waits longest
	last    *waiter
	closed  error // why nobody is let in any more; nil while somebody may be
}

// waiter is one blocked Acquire. Its links, admitted and refused are guarded by the Breaker's mutex until turn is closed, which
// it is when the waiter is admitted or refused.
type waiter struct {
	turn       chan struct{}
	admitted   bool
	refused    error
	prev, next *waiter
}

// New returns a Breaker that lets limit callers run and depth more wait. A limit of 0 lets nobody run until SetLimit
// raises it. Negative numbers count as 0.
func New(limit, depth int) *Breaker {
	b := &Breaker{limit: max(limit, 0), depth: max(depth, 0)}
	b.release = b.leave
	return b
}

// Acquire takes a place, waiting for one if need be. The release function must be called exactly once when the work
// is done; one call too many panics sooner or later.
//
// It returns ErrFull at once when the queue is full, the context's cause when the context ends first, and Close's error once
// the Breaker is closed.
func (b *Breaker) Acquire(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	if why := b.closed; why != nil {
		b.mu.Unlock()
		return nil, why
	}
	if b.running < b.limit { // nobody waits then: whoever frees a place hands it on under the same lock
		b.running++
		b.mu.Unlock()
		return b.release, nil
	}
	if b.waiting >= b.depth {
		b.mu.Unlock()
		return nil, ErrFull
	}
	w := &waiter{turn: make(chan struct{})}
	b.push(w)
	b.mu.Unlock()

	select {
	case <-w.turn:
		if w.refused != nil {
			return nil, w.refused
		}
		return b.release, nil
	case <-ctx.Done():
		b.abandon(w)
		return nil, context.Cause(ctx)
	}
}

// TryAcquire takes a place if one is free, without a word on why where it is not.
func (b *Breaker) TryAcquire() (release func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil || b.running >= b.limit {
		return nil, false
	}
	b.running++
	return b.release, true
}

// SetLimit changes how many may run at a time. Raising it admits those who wait, in order; lowering it interrupts
// nobody: the number of running ones falls as they finish.
func (b *Breaker) SetLimit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = max(limit, 0)
	b.admit()
}

// Close lets nobody in any more: those who wait and those who come get the error, which says why. Who runs is not
// interrupted.
func (b *Breaker) Close(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = why
	for b.first != nil {
		w := b.first
		b.remove(w)
		w.refused = why
		close(w.turn)
	}
}

// Counts returns how many callers hold a place and how many wait for one.
func (b *Breaker) Counts() (running, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running, b.waiting
}

func (b *Breaker) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == 0 {
		panic("breaker: released more often than acquired")
	}
	b.running--
	b.admit()
}

// abandon takes w out of the queue. When its turn came at the same moment the place is handed on, so that it is not lost.
func (b *Breaker) abandon(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case w.refused != nil:
		return
	case !w.admitted:
		b.remove(w)
		return
	}
	b.running--
	b.admit()
}

// admit gives free places to those who wait. The caller holds the mutex.
func (b *Breaker) admit() {
	for b.first != nil && b.running < b.limit {
		w := b.first
		b.remove(w)
		b.running++
		w.admitted = true
		close(w.turn)
	}
}

func (b *Breaker) push(w *waiter) {
	b.waiting++
	w.prev = b.last
	if b.last == nil {
		b.first = w
	} else {
		b.last.next = w
	}
	b.last = w
}

func (b *Breaker) remove(w *waiter) {
	b.waiting--
	if w.prev == nil {
		b.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		b.last = w.prev
	} else {
		w.next.prev = w.prev
	}
}
