// Package replay keeps the beginning of a request's body while the request is being sent, so that another attempt can send it from the
// beginning: a transport has read ahead when it learns that the server has not processed the request.
//
// It must not know to whom a request is sent, nor when it may be sent again.
package replay

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Limit is how much of a body is kept, in bytes. A request with a longer body can be sent again until more than that has been read.
const Limit = 32 << 10

// ErrSuperseded is what an attempt reads after another one has begun, or after the request is over.
var ErrSuperseded = errors.New("the body is being sent by another attempt")

// Body is a request's body over all attempts. It holds a buffer from the first read until the request will not be sent again. A Body must
// not be copied after Begin.
type Body struct {
	// Set once.
	source  io.Reader
	buffers *Buffers
	first   Reader // so that a request that is sent once needs no allocation

	failed atomic.Bool

	// Guarded by mu.
	mu        sync.Mutex
	log       []byte  // all that has been read; nil before that, and when discarded
	discarded bool    // the log is not kept any more
	settled   bool    // the current attempt is the last one
	end       error   // what the source has ended with
	current   *Reader // nil when the request is over
	reading   *Reader // the one that waits for the client; nil when none does
	freed     chan struct{}
}

// Reader is the body as one attempt reads it, in one goroutine.
type Reader struct {
	body *Body
	at   int // offset in the log
}

// Begin starts to read from the client, and returns the body for the first attempt.
func (b *Body) Begin(source io.Reader, buffers *Buffers) *Reader {
	b.source, b.buffers = source, buffers
	b.first.body = b
	b.current = &b.first
	return b.current
}

// Rewind returns the body from its beginning for another attempt, and ends the reading of the attempt before. It fails if more has been
// read than is kept. A Read that waits for the client goes on waiting, and what then arrives goes to the new attempt.
func (b *Body) Rewind() (*Reader, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.discarded || b.settled || b.current == nil || b.reading != nil && len(b.log) == Limit {
		return nil, false
	}
	b.current = &Reader{body: b}
	b.wake()
	return b.current, true
}

// Settle says that the current attempt is the last one: the buffer is returned as soon as it has been read.
func (b *Body) Settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled = true
	b.trim()
}

// Release ends the reading and returns the buffer. It reports whether no Read waits for the client any more.
func (b *Body) Release() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = nil
	b.discard()
	b.wake()
	return b.reading == nil
}

// Waiting reports whether a Read waits for the client.
func (b *Body) Waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reading != nil
}

// Failed reports whether the client did not deliver its body.
func (b *Body) Failed() bool { return b.failed.Load() }

// Read reads the log, and then what the client sends.
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
		b.trim()
		return n, nil
	case b.end != nil:
		return 0, b.end
	}
	n, err := b.fetch(r, p)
	if b.current != r {
		return 0, ErrSuperseded
	}
	r.at = len(b.log)
	b.trim()
	return n, err
}

// Close does nothing: transports close bodies on failure, and this one stays open for the next attempt.
func (r *Reader) Close() error { return nil }

// await waits, without the mutex, until no Read waits for the client or something else has changed.
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

// fetch reads from the client, without the mutex. While the log has room it reads no more than fits, since what it gets may be for the
// next attempt.
func (b *Body) fetch(r *Reader, p []byte) (int, error) {
	if room := Limit - len(b.log); !b.discarded && room > 0 && len(p) > room {
		p = p[:room]
	}
	b.reading = r
	n, err := b.pull(p)
	b.reading = nil
	if b.current != nil && !b.discarded {
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

// keep adds to the log, or discards it when it is full.
func (b *Body) keep(p []byte) {
	switch {
	case len(p) == 0:
		return
	case len(b.log)+len(p) > Limit:
		b.discard()
		return
	case b.log == nil:
		b.log = b.buffers.Get()[:0]
	}
	b.log = append(b.log, p...)
}

// trim discards a log that no attempt will read. While the attempt before waits for the client, what arrives is for the current one.
func (b *Body) trim() {
	if b.settled && b.current != nil && b.current.at == len(b.log) && (b.reading == nil || b.reading == b.current) {
		b.discard()
	}
}

func (b *Body) discard() {
	if b.log != nil {
		b.buffers.Put(b.log[:Limit])
	}
	b.log, b.discarded = nil, true
}
