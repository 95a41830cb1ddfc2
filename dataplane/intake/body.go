// Package intake reads the body of a request from its client and bounds how long a client may stall. net/http's server has no such
// bound: it waits for the rest of a body before it writes the answer, and after it, without end.
//
// An answer that begins before its request has been read to the end has "Connection: close", and nothing after that request is taken for
// another one. Stop interrupts a Read, so that a request whose replica has died gets an answer.
//
// It must not know where the body is sent.
package intake

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"sluice.dev/sluice/dataplane/framing"
)

const (
	// Grace is how long we wait for the rest of a body before an answer of our own, so that the connection can carry another request. We
	// read at most graceBytes.
	Grace      = 50 * time.Millisecond
	graceBytes = 256 << 10
	// Patience is how long an application may take to ask for a body (Expect: 100-continue) before it is sent anyway: many applications
	// do not know the expectation.
	Patience = time.Second
)

// ErrStopped is what Read returns after Stop.
var ErrStopped = errors.New("the body of the request is not read any more")

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Body is the body of a request on its way from a client. A request without a body has a nil Body. One goroutine at a time may call Read;
// any may call the other methods.
type Body struct {
	// Set once.
	w           http.ResponseWriter
	source      io.Reader
	conn        *framing.Conn // nil for HTTP/2, and for connections that framing does not parse
	http1       bool
	expectation *expectation // nil unless the client sent "Expect: 100-continue"

	// Guarded by mu.
	mu          sync.Mutex
	reading     bool
	idle        chan struct{} // closed when the Read in progress returns; nil when nobody waits for that
	begun       bool          // a Read of the source has begun
	stopped     bool          // no Read may begin
	interrupted bool          // the server's reading was interrupted
	answered    bool          // the final answer has begun
	err         error         // what the source has ended with
}

// expectation is the state of "Expect: 100-continue".
type expectation struct {
	patience time.Duration // guarded by the Body's mutex; 0 is no bound
	wanted   chan struct{} // closed by Want
	stopped  chan struct{} // closed by Stop
	once     sync.Once
}

// Begin takes over the body of a request: nobody else may read r.Body from now on. Over HTTP/1.1 the answer may be written before the
// body has been read. End must follow.
func Begin(w http.ResponseWriter, r *http.Request) *Body {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b := &Body{w: w, source: r.Body, conn: framing.Of(r), http1: r.ProtoMajor == 1}
	if b.http1 {
		// Otherwise the server reads the body before it writes an answer, and the client may have stalled. A writer that does not
		// support it does not read first either.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	if r.Header["Expect"] != nil {
		b.expectation = &expectation{patience: Patience, wanted: make(chan struct{}), stopped: make(chan struct{})}
	}
	return b
}

// Shield returns the request with a context that goes on when Stop interrupts a Read. The server takes that for a client that has gone and
// ends the context of r. A transport of HTTP/2 closes the body as soon as an answer of 300 or more begins, and the rest of the answer would
// be lost with the context. release must be called when the request is over.
func (b *Body) Shield(r *http.Request) (shielded *http.Request, release func()) {
	if b == nil || !b.http1 {
		return r, func() {}
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	unwatch := context.AfterFunc(r.Context(), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.interrupted {
			cancel(context.Cause(r.Context()))
		}
	})
	return r.WithContext(ctx), func() { unwatch(); cancel(nil) }
}

// Expects reports whether the client waits for 100 Continue before it sends the body.
func (b *Body) Expects() bool { return b != nil && b.expectation != nil }

// RequireWant has Read wait for Want without a bound, for a receiver that is known to ask for the body; with false the bound is Patience.
func (b *Body) RequireWant(yes bool) {
	if !b.Expects() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expectation.patience = Patience
	if yes {
		b.expectation.patience = 0
	}
}

// Want says that the receiver asks for the body.
func (b *Body) Want() {
	if b.Expects() {
		b.expectation.once.Do(func() { close(b.expectation.wanted) })
	}
}

// Read reads what the client sends. If the client expects 100 Continue, Read waits until the receiver wants the body; net/http sends
// 100 Continue when the source is read.
func (b *Body) Read(p []byte) (n int, err error) {
	if b.expectation != nil && !b.awaitWant() {
		return 0, ErrStopped
	}
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return 0, ErrStopped
	}
	b.begun, b.reading = true, true
	b.mu.Unlock()
	defer func() { // also when the source panics
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.reading = false; b.idle != nil {
			close(b.idle)
			b.idle = nil
		}
		if err != nil {
			b.err = err
		}
	}()
	return b.source.Read(p)
}

// awaitWant reports whether the body is to be read.
func (b *Body) awaitWant() bool {
	var expired <-chan time.Time
	b.mu.Lock()
	patience := b.expectation.patience
	b.mu.Unlock()
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-b.expectation.wanted:
		return true
	case <-b.expectation.stopped:
		return false
	case <-expired:
	}
	refused := b.Refused()
	if refused {
		<-b.expectation.stopped // an error would end the answer
	}
	return !refused
}

// Refused reports whether the final answer has begun without the 100 Continue that the client expects.
func (b *Body) Refused() bool {
	if !b.Expects() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered && !b.begun
}

// Close is Stop, for transports.
func (b *Body) Close() error {
	b.Stop()
	return nil
}

// Stop makes the Read in progress and all later ones fail. It does not wait for that.
func (b *Body) Stop() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.stopped = true
	if b.expectation != nil {
		close(b.expectation.stopped)
	}
	if b.reading {
		b.interrupted = true
		b.deadline(longAgo)
	}
}

// deadline bounds reading from the client. Where the writer does not support that, a client may stall.
func (b *Body) deadline(t time.Time) { _ = http.NewResponseController(b.w).SetReadDeadline(t) }

// Result ends the reading. failed reports whether the client, which is still there, sent a malformed body. interrupted reports whether
// Stop interrupted a Read: the server takes that for a client that has gone, and ends the request's context.
func (b *Body) Result() (failed, interrupted bool) {
	if b == nil {
		return false, false
	}
	b.Stop()
	b.await()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lost *net.OpError
	switch {
	case b.err == nil, b.complete(), errors.Is(b.err, io.ErrUnexpectedEOF), errors.Is(b.err, os.ErrDeadlineExceeded),
		errors.As(b.err, &lost):
		return false, b.interrupted
	}
	return true, b.interrupted
}

// complete reports whether all of the body was read. The caller holds the mutex.
func (b *Body) complete() bool { return b.err == io.EOF } //nolint:errorlint // a reader says EOF as it is

// Answer must be called before the header of the final answer is written. own says that the answer is not the receiver's, so that nobody
// reads the body any more.
func (b *Body) Answer(own bool) {
	if b == nil {
		return
	}
	if own {
		b.Stop()
		b.readRest()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = true
	if b.http1 && !b.complete() {
		b.w.Header().Set("Connection", "close")
	}
}

// readRest reads the part of the body that has arrived, unless the client waits for 100 Continue.
func (b *Body) readRest() {
	b.await()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.http1 || b.err != nil || b.expectation != nil && !b.begun {
		return
	}
	b.deadline(time.Now().Add(Grace))
	_, err := io.CopyN(io.Discard, b.source, graceBytes)
	b.deadline(time.Time{})
	b.interrupted = b.interrupted || err != io.EOF //nolint:errorlint // a reader says EOF as it is
	if b.err = err; err == nil {
		b.err = ErrStopped
	}
}

// await waits for the Read in progress, which Stop has interrupted.
func (b *Body) await() {
	b.mu.Lock()
	if b.reading && b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// End ends the reading after the answer is complete. It closes the connection of a client that has not sent all of its body.
func (b *Body) End() {
	if b == nil {
		return
	}
	b.Stop()
	b.await()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.http1 || b.complete():
	case b.conn != nil:
		b.conn.End()
	default:
		b.deadline(longAgo)
	}
}

// Malformed says why it is not clear where a request ends, and "" if it is. A malformed request must be refused, and is the last of its
// connection.
func Malformed(r *http.Request) string {
	if conn := framing.Of(r); conn != nil {
		return conn.Refusal()
	}
	if len(r.Header["Content-Length"]) > 1 { // HTTP/2: the server has read only one of them
		return "more than one Content-Length"
	}
	return ""
}
