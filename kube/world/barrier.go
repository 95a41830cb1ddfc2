package world

import (
	"cmp"
	"slices"
	"sync"

	"sluice.dev/sluice/model"
)

// Barrier holds the first World back until the part of every object that existed at the start is known. Otherwise the first World
// would remove from the data plane whatever has not been reconciled yet.
type Barrier struct {
	completed chan struct{} // closed when the first World may go

	// Guarded by mu.
	mu       sync.Mutex
	complete bool
	// expected are the objects that are still awaited. It is nil before Expect has been called, and when complete.
	expected map[model.Ref]struct{}
	// settled are the objects that became known before Expect was called.
	settled map[model.Ref]struct{}
}

// NewBarrier makes a Barrier that is not complete.
func NewBarrier() *Barrier {
	return &Barrier{completed: make(chan struct{}), settled: map[model.Ref]struct{}{}}
}

// Completed is closed when the first World may go.
func (b *Barrier) Completed() <-chan struct{} { return b.completed }

// Expect names the objects without which there is no first World.
func (b *Barrier) Expect(objects []model.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = map[model.Ref]struct{}{}
	for _, o := range objects {
		if _, done := b.settled[o]; !done {
			b.expected[o] = struct{}{}
		}
	}
	b.completeIfSettled()
}

// Settle notes that an object's part of the World is known, and reports whether that was awaited.
func (b *Barrier) Settle(o model.Ref) (awaited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.complete:
		return false
	case b.expected == nil:
		_, done := b.settled[o]
		b.settled[o] = struct{}{}
		return !done
	}
	_, awaited = b.expected[o]
	delete(b.expected, o)
	b.completeIfSettled()
	return awaited
}

// SettleAll stops waiting for what is not known.
func (b *Barrier) SettleAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.complete {
		clear(b.expected)
		b.completeIfSettled()
	}
}

// IsComplete says whether the first World may go.
func (b *Barrier) IsComplete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.complete
}

// completeIfSettled is called with mu held, when Expect has been called.
func (b *Barrier) completeIfSettled() {
	if len(b.expected) == 0 {
		b.complete, b.expected, b.settled = true, nil, nil
		close(b.completed)
	}
}

// missing returns the objects that are awaited, sorted.
func (b *Barrier) missing() []model.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	missing := make([]model.Ref, 0, len(b.expected))
	for o := range b.expected {
		missing = append(missing, o)
	}
	slices.SortFunc(missing, func(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key)) })
	return missing
}
