// Package breaker limits how many requests run at a time, and lets a bounded number of others wait in order.
//
// It must not know HTTP, revisions or time: the caller's context says how long to wait.
package breaker

import (
	"context"
	"errors"
	"math"
	"sync"
)

// Unlimited is the limit of a Breaker that only counts.
const Unlimited = math.MaxInt

// ErrFull says that the queue is full. Its text is the one that Knative's clients see.
var ErrFull = errors.New("pending request queue full")

// Breaker is a concurrency limit with a bounded queue, first come first served. The zero value admits nobody; use New. All methods may
// be called concurrently.
type Breaker struct {
	release func() // b.leave, bound once so that Acquire does not allocate

	// Guarded by mu.
	mu      sync.Mutex
	limit   int
	depth   int
	running int
	waiting int
	first   *waiter // has waited longest
	last    *waiter
	closed  error // why nobody is admitted any more; nil unless Close was called
}

// waiter is one blocked Acquire. The Breaker's mutex guards its links, admitted and refused until turn is closed, which happens when the
// waiter is admitted or refused.
type waiter struct {
	turn       chan struct{}
	admitted   bool
	refused    error
	prev, next *waiter
}

// New returns a Breaker in which limit callers may run and depth more may wait. A limit of 0 admits nobody until SetLimit raises it.
// Negative numbers count as 0.
func New(limit, depth int) *Breaker {
	b := &Breaker{limit: max(limit, 0), depth: max(depth, 0)}
	b.release = b.leave
	return b
}

// Acquire takes a place, and waits for one if none is free. The caller must call release exactly once; a call too many panics sooner or
// later. The error is ErrFull at once when the queue is full, the context's cause when the context ends first, and Close's once the
// Breaker is closed.
func (b *Breaker) Acquire(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	if why := b.closed; why != nil {
		b.mu.Unlock()
		return nil, why
	}
	if b.running < b.limit { // nobody waits then: a freed place is given to a waiter under the same lock
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

// TryAcquire takes a place if one is free.
func (b *Breaker) TryAcquire() (release func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil || b.running >= b.limit {
		return nil, false
	}
	b.running++
	return b.release, true
}

// SetLimit changes how many may run at a time. A higher limit admits waiters, in order. A lower one interrupts nobody.
func (b *Breaker) SetLimit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = max(limit, 0)
	b.admit()
}

// Close admits nobody any more: waiters and later callers get the error. It interrupts nobody who runs.
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

// abandon takes w out of the queue. If it was admitted at the same moment, its place goes to the next waiter.
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

// admit gives free places to waiters. The caller holds the mutex.
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
