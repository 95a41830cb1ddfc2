package replay

import "sync"

// Buffers lends memory in pieces of Limit bytes, for what is kept and for copying. The zero value is ready.
type Buffers struct{ pool sync.Pool }

// Get borrows a buffer.
func (b *Buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[Limit]byte); ok {
		return p[:]
	}
	return new([Limit]byte)[:]
}

// Put gives a buffer back, in its full length.
func (b *Buffers) Put(p []byte) { b.pool.Put((*[Limit]byte)(p)) }
