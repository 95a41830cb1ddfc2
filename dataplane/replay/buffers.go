package replay

import "sync"

// Buffers lends buffers of Limit bytes, for the kept parts of bodies and for copying. The zero value is ready.
type Buffers struct{ pool sync.Pool }

// Get borrows a buffer.
func (b *Buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[Limit]byte); ok {
		return p[:]
	}
	return new([Limit]byte)[:]
}

// Put returns a buffer, in its full length.
func (b *Buffers) Put(p []byte) { b.pool.Put((*[Limit]byte)(p)) }
