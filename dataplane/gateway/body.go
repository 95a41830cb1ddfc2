package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// requestBody is a request's body on its way upstream. What has been read of it is kept, as long as that is little, so that
// another attempt can begin anew: a transport reads ahead before it finds out that nothing can be sent.
type requestBody struct {
	source io.Reader
	x      *exchange
	to     http.Header // trailers of the outgoing request
	// failed is set when the client did not deliver the body.
	failed atomic.Bool

	mu      sync.Mutex // held while the client is waited for
	log     []byte     // all that has been read; nil before, and when lost
	lost    bool       // more has been read than is kept
	end     error      // what the source has ended with
	current *bodyReader
}

// bodyReader is the body as one attempt reads it. Transports close bodies on failure; this one stays open for the next attempt.
type bodyReader struct {
	body *requestBody
	at   int // in the log
}

var errSuperseded = errors.New("the body is being sent by another attempt")

// rewind gives the body from its beginning, if that is still there. It fails too where an attempt waits for the client to send
// more: the next one would have to wait for it.
func (b *requestBody) rewind() (*bodyReader, bool) {
	if !b.mu.TryLock() {
		return nil, false
	}
	defer b.mu.Unlock()
	if b.lost {
		return nil, false
	}
	b.current = &bodyReader{body: b}
	return b.current, true
}

// again is rewind for a transport.
func (b *requestBody) again() (io.ReadCloser, error) {
	if r, ok := b.rewind(); ok {
		return r, nil
	}
	return nil, errors.New("the body has been sent in part")
}

// release gives the memory back. Who still reads gets an error.
func (b *requestBody) release() {
	if b.source == nil || !b.mu.TryLock() {
		return
	}
	defer b.mu.Unlock()
	b.current = nil
	b.forget()
}

func (b *requestBody) forget() {
	if b.log != nil {
		b.x.proxy.buffers.Put(b.log[:copyBufferBytes])
	}
	b.log, b.lost = nil, true
}

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.current != r:
		return 0, errSuperseded
	case r.at < len(b.log):
		n := copy(p, b.log[r.at:])
		r.at += n
		return n, nil
	case b.end != nil:
		return 0, b.end
	}
	n, err := b.source.Read(p)
	b.x.clock.touch()
	if !b.lost {
		b.keep(p[:n])
	}
	r.at = len(b.log)
	if err != nil {
		b.ended(err)
	}
	return n, err
}

// keep adds to the log, or gives it up.
func (b *requestBody) keep(p []byte) {
	if len(b.log)+len(p) > copyBufferBytes {
		b.forget()
		return
	}
	if b.log == nil {
		b.log = b.x.proxy.buffers.Get()[:0]
	}
	b.log = append(b.log, p...)
}

func (b *requestBody) ended(err error) {
	b.end = err
	if err != io.EOF { //nolint:errorlint // a reader says EOF as it is
		b.failed.Store(true)
		return
	}
	for key, values := range b.x.view.Trailer {
		b.to[key] = values
	}
	b.x.clock.requestDone()
}

// Close does nothing: the body is the server's.
func (r *bodyReader) Close() error { return nil }
