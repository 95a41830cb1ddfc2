package world

import (
	"sync"

	"sluice.dev/sluice/model"
)

// Backing knows which revisions activators back: every client sends all requests of such a revision to an activator, so its last
// replica may end without losing one. That is so once every client has acknowledged a World that says so. To learn in which
// World a change appears, Backing passes backends and activators on to the assembler.
type Backing struct {
	// Set once.
	assembler *Assembler
	report    func(revision model.Key, backed bool) // called with mu held, so that changes are reported in their order

	// Guarded by mu, which is taken before the assembler's.
	mu         sync.Mutex
	activators bool                   // there are some
	pending    map[model.Key]uint64   // via activators from a generation on, which some client has yet to acknowledge
	backed     map[model.Key]struct{} // via activators with every client
}

// NewBacking makes a Backing in front of an Assembler. It calls report whenever a revision begins or ends to be backed; report must neither
// block nor call the Backing.
func NewBacking(a *Assembler, report func(revision model.Key, backed bool)) *Backing {
	return &Backing{assembler: a, report: report, pending: map[model.Key]uint64{}, backed: map[model.Key]struct{}{}}
}

// SetBackend adds or replaces the backend of a revision.
func (b *Backing) SetBackend(backend *model.Backend) {
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

// RemoveBackend removes the backend of a revision that is gone. Nothing is reported of it any more.
func (b *Backing) RemoveBackend(revision model.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pending, revision)
	delete(b.backed, revision)
	b.assembler.removeBackend(revision)
}

// SetActivators replaces the addresses of all activators. Without any, no revision is backed.
func (b *Backing) SetActivators(endpoints []model.Endpoint) {
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

// Acknowledge notes that every client has a World.
func (b *Backing) Acknowledge(generation uint64) {
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
