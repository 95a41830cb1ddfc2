// Package intake reads the body of a request from its client, where net/http's server has no bound for a client that stalls: it
// would wait for the rest of a body before the answer is written, and after it, for ever.
//
// An answer that begins before its request has been read to the end says "Connection: close", and nothing behind that request is taken
// for another one. Whoever waits for the client can be made to give up (Stop), so that a request whose other side has died is answered.
//
// It knows nothing of who is sent the body.
package intake

import (
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
	// Grace is how long the rest of a body is waited for before an answer of our own, so that the connection can have another request.
	// At most graceBytes are read.
	Grace      = 50 * time.Millisecond
	graceBytes = 256 << 10
	// Patience is how long an application may take to say whether it wants a body (Expect: 100-continue); many do not know of it.
	Patience = time.Second
)

// ErrStopped is what Read returns after Stop.
var ErrStopped = errors.New("the body of the request is not read any more")

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Body is the body of a request on its way from a client. A nil Body is that of a request without one. Read is for one goroutine
// at a time, the other methods are for any.
type Body struct {
	w      http.ResponseWriter
	source io.Reader
	conn   *framing.Conn // nil for HTTP/2, or where framing does not hold the client
	http1  bool
	wish   *wish // nil when the client sends the body without being asked

	mu       sync.Mutex
	reading  bool
	idle     chan struct{} // is closed when the Read in progress returns; nil when nobody waits for that
	begun    bool          // a Read of the source has begun
	stopped  bool          // no Read is to begin
	severed  bool          // the server was made to give up reading
	answered bool          // the final answer has begun
	err      error         // what the source has ended with
}

// wish is whether the body is wanted by whom it is for.
type wish struct {
	patience time.Duration
	known    chan struct{} // is closed when it is wanted
	over     chan struct{} // is closed by Stop
	once     sync.Once
}

// Begin takes the body of a request over from the server: r.Body is not to be read by others from now on. Over HTTP/1.1 the answer
// may be written before the body has been read. End must follow.
func Begin(w http.ResponseWriter, r *http.Request) *Body {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b := &Body{w: w, source: r.Body, conn: framing.Of(r), http1: r.ProtoMajor == 1}
	if b.http1 {
		// Without it the server would read the body before it writes an answer, from a client that may have stopped to send. Writers
		// that cannot do it have no such limit.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	if r.Header["Expect"] != nil {
		b.wish = &wish{patience: Patience, known: make(chan struct{}), over: make(chan struct{})}
	}
	return b
}

// Expects is whether the client waits for a word before it sends the body.
func (b *Body) Expects() bool { return b != nil && b.wish != nil }

// Unhurried has Read wait for Want without a bound, for whom it is known to say whether the body is wanted, or not unhurried again.
func (b *Body) Unhurried(yes bool) {
	if !b.Expects() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wish.patience = Patience
	if yes {
		b.wish.patience = 0
	}
}

// Want says that the body is wanted by whom it is for. Without an expectation it is anyway.
func (b *Body) Want() {
	if b.Expects() {
		b.wish.once.Do(func() { close(b.wish.known) })
	}
}

// Read reads what the client sends. If the client has asked whether it is wanted, Read waits for that to be known; to read makes
// net/http tell the client to go on.
func (b *Body) Read(p []byte) (n int, err error) {
	if b.wish != nil && !b.awaitWish() {
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

// awaitWish returns whether the body is to be read.
func (b *Body) awaitWish() bool {
	var impatient <-chan time.Time
	b.mu.Lock()
	patience := b.wish.patience
	b.mu.Unlock()
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		impatient = timer.C
	}
	select {
	case <-b.wish.known:
		return true
	case <-b.wish.over:
		return false
	case <-impatient:
	}
	refused := b.Refused()
	if refused {
		<-b.wish.over // to return an error now would end the answer
	}
	return !refused
}

// Refused is whether the final answer has begun, and the client that asked was not told to send its body.
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

// Stop has the Read in progress, and all later ones, fail. It does not wait for that.
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
	if b.wish != nil {
		close(b.wish.over)
	}
	if b.reading {
		b.severed = true
		b.deadline(longAgo)
	}
}

// deadline bounds reading from the client. Where that is not supported a client that stalls is waited for.
func (b *Body) deadline(t time.Time) { _ = http.NewResponseController(b.w).SetReadDeadline(t) }

// Fate ends the reading, and tells what has become of it. Failed is whether the client, which is still there, sent a body that is not as
// HTTP has it. Severed is whether a Read was interrupted: the server takes that for the end of the client, and ends the request's context.
func (b *Body) Fate() (failed, severed bool) {
	if b == nil {
		return false, false
	}
	b.Stop()
	b.await()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lost *net.OpError
	switch {
	case b.err == nil, b.complete(), errors.Is(b.err, io.ErrUnexpectedEOF), errors.Is(b.err, os.ErrDeadlineExceeded), errors.As(b.err, &lost):
		return false, b.severed
	}
	return true, b.severed
}

// complete is whether all of the body was read. It needs the mutex.
func (b *Body) complete() bool { return b.err == io.EOF } //nolint:errorlint // a reader says EOF as it is

// Answer must be called before the header of the final answer is written. An answer of our own is one that whom the body is for has
// not given, and so nobody reads the body any more.
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

// readRest reads what has come of the body, unless the client waits for a word.
func (b *Body) readRest() {
	b.await()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.http1 || b.err != nil || b.wish != nil && !b.begun {
		return
	}
	b.deadline(time.Now().Add(Grace))
	_, err := io.CopyN(io.Discard, b.source, graceBytes)
	b.deadline(time.Time{})
	b.severed = b.severed || err != io.EOF //nolint:errorlint // a reader says EOF as it is
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

// End ends the reading, when nothing is to be written any more. Of a client that has not sent all of its body the connection ends.
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

// Malformed says why it is not clear where a request ends; it must be refused, and its connection has no other one. Empty if it is.
func Malformed(r *http.Request) string {
	if conn := framing.Of(r); conn != nil {
		return conn.Refusal()
	}
	if len(r.Header["Content-Length"]) > 1 { // HTTP/2: the server has looked at one of them
		return "more than one Content-Length"
	}
	return ""
}
