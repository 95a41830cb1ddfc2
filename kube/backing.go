package kube

import (
	"sync"

	"sluice.dev/sluice/model"
)

// backing knows which revisions activators back: every client sends all requests of such a revision to an activator, so its last
// replica may end without losing one. That is so once every client has acknowledged a World that says so. To learn in which
// World a change appears, backing passes backends and activators on to the assembler.
type backing struct {
	// Set once.
	assembler *assembler
	report    func(revision model.Key, backed bool) // called with mu held, so that changes are reported in their order

	// Guarded by mu, which is taken before the assembler's.
	mu         sync.Mutex
	activators bool                   // there are some
	pending    map[model.Key]uint64   // via activators from a generation on, which some client has yet to acknowledge
	backed     map[model.Key]struct{} // via activators with every client
}

func newBacking(a *assembler, report func(revision model.Key, backed bool)) *backing {
	return &backing{assembler: a, report: report, pending: map[model.Key]uint64{}, backed: map[model.Key]struct{}{}}
}

// setBackend adds or replaces the backend of a revision.
func (b *backing) setBackend(backend *model.Backend) {
	b.mu.Lock()
	defer b.mu.Unlock()
	generation, changed := b.assembler.setBackend(backend)
	if !changed {
		return
	}
	revision := backend.Revision
	_, pending := b.pending[revision]
	_, backed := b.backed[revision]
	switch via := backend.Via == model.ViaActivator; {
	case via && !pending && !backed:
		b.pending[revision] = generation
	case !via:
		delete(b.pending, revision)
		if backed {
			delete(b.backed, revision)
			b.report(revision, false)
		}
	}
}

// removeBackend removes the backend of a revision that is gone. Nothing is reported of it any more.
func (b *backing) removeBackend(revision model.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pending, revision)
	delete(b.backed, revision)
	b.assembler.removeBackend(revision)
}

// setActivators replaces the addresses of all activators. Without any, no revision is backed.
func (b *backing) setActivators(endpoints []model.Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	generation, changed := b.assembler.setActivators(endpoints)
	if b.activators = len(endpoints) > 0; b.activators || !changed {
		return
	}
	for revision := range b.backed {
		b.pending[revision] = generation
		delete(b.backed, revision)
		b.report(revision, false)
	}
}

// acknowledge notes that every client has a World.
func (b *backing) acknowledge(generation uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.activators {
		return
	}
	for revision, since := range b.pending {
		if since <= generation {
			delete(b.pending, revision)
			b.backed[revision] = struct{}{}
			b.report(revision, true)
		}
	}
}
