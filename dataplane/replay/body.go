// Package replay keeps the beginning of a request's body while the request is being sent, so that it can be sent again, from its
// beginning, to somebody else: a transport has read ahead when it finds out that nobody has looked at the request. It knows
// nothing of who is sent a request again.
package replay

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Limit is how much of a body is kept, in bytes. A request whose body is longer can be sent again until more has been read.
const Limit = 32 << 10

// ErrSuperseded is what an attempt reads after another one has begun, or after the request is over.
var ErrSuperseded = errors.New("the body is being sent by another attempt")

// Body is a request's body on its way to one or another. It borrows a buffer when something has been read, until it is clear that
// the request will not be sent again. A Body must not be copied once it has begun.
type Body struct {
	source  io.Reader
	buffers *Buffers
	first   Reader // so that a request that is sent once costs no allocation
	failed  atomic.Bool

	mu      sync.Mutex
	log     []byte  // all that has been read; nil before, and when lost
	lost    bool    // it is not kept any more
	settled bool    // no attempt follows the current one
	end     error   // what the source has ended with
	current *Reader // nil when the request is over
	reading *Reader // waits for the client; nil when none does
	freed   chan struct{}
}

// Reader is the body as one attempt reads it, in one goroutine.
type Reader struct {
	body *Body
	at   int // in the log
}

// Begin takes what the client sends, and gives the body for the first attempt.
func (b *Body) Begin(source io.Reader, buffers *Buffers) *Reader {
	b.source, b.buffers = source, buffers
	b.first.body = b
	b.current = &b.first
	return b.current
}

// Rewind gives the body from its beginning for another attempt, and ends the reading of the one before; it fails where more has
// been read than is kept. One that waits for the client to send more goes on waiting, and what then comes is for its successor.
func (b *Body) Rewind() (*Reader, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || b.settled || b.current == nil || b.reading != nil && len(b.log) == Limit {
		return nil, false
	}
	b.current = &Reader{body: b}
	b.wake()
	return b.current, true
}

// Settle says that the current attempt is the last one: the memory is given back as soon as it has been read.
func (b *Body) Settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled = true
	b.spare()
}

// Release ends the reading and gives the memory back. It reports whether nobody waits for the client any more.
func (b *Body) Release() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = nil
	b.forget()
	b.wake()
	return b.reading == nil
}

// Waiting is whether somebody waits for the client to send more.
func (b *Body) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reading != nil
}

// Failed is whether the client did not deliver its body.
func (b *Body) Failed() bool { return b.failed.Load() }

// Read reads what has been kept, and then what the client sends.
func (r *Reader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.current == r && b.reading != nil && r.at == len(b.log) {
		b.await()
	}
	switch {
	case b.current != r:
		return 0, ErrSuperseded
	case r.at < len(b.log):
		n := copy(p, b.log[r.at:])
		r.at += n
		b.spare()
		return n, nil
	case b.end != nil:
		return 0, b.end
	}
	n, err := b.fetch(r, p)
	if b.current != r {
		return 0, ErrSuperseded
	}
	r.at = len(b.log)
	b.spare()
	return n, err
}

// Close does nothing: transports close bodies on failure, and this one stays open for the next attempt.
func (r *Reader) Close() error { return nil }

// await lets go of the mutex until nobody waits for the client, or something else has changed.
func (b *Body) await() {
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	freed := b.freed
	b.mu.Unlock()
	<-freed
	b.mu.Lock()
}

func (b *Body) wake() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// fetch reads from the client, without the mutex, not more than there is room for as long as there is some: what it gets may be
// for the next attempt.
func (b *Body) fetch(r *Reader, p []byte) (int, error) {
	if room := Limit - len(b.log); !b.lost && room > 0 && len(p) > room {
		p = p[:room]
	}
	b.reading = r
	n, err := b.pull(p)
	b.reading = nil
	if b.current != nil && !b.lost {
		b.keep(p[:n])
	}
	if err != nil {
		b.end = err
		b.failed.Store(err != io.EOF) //nolint:errorlint // a reader says EOF as it is
	}
	b.wake()
	return n, err
}

func (b *Body) pull(p []byte) (int, error) {
	b.mu.Unlock()
	defer b.mu.Lock() // also when the source panics
	return b.source.Read(p)
}

// keep adds to the log, or gives it up.
func (b *Body) keep(p []byte) {
	switch {
	case len(p) == 0:
		return
	case len(b.log)+len(p) > Limit:
		b.forget()
		return
	case b.log == nil:
		b.log = b.buffers.Get()[:0]
	}
	b.log = append(b.log, p...)
}

// spare forgets what nobody is going to read. What the one before waits for is still for the current attempt.
func (b *Body) spare() {
	if b.settled && b.current != nil && b.current.at == len(b.log) && (b.reading == nil || b.reading == b.current) {
		b.forget()
	}
}

func (b *Body) forget() {
	if b.log != nil {
		b.buffers.Put(b.log[:Limit])
	}
	b.log, b.lost = nil, true
}
