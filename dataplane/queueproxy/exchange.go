package queueproxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/tracing"
)

// maxInformational bounds how many informational responses may precede a response.
const maxInformational = 32

var errTooManyInformational = errors.New("too many informational responses")

// exchange is one request and its response. It enforces the revision's timeouts with a single timer: when one of them has passed, the
// request's context ends with errRequestTimeout. ReverseProxy then answers 504 if the response has not begun, and otherwise cuts it off
// or closes the upgraded connection. Unlike Knative's queue-proxy it never appends an error text to a response that has begun: the client
// would take that for a complete one.
type exchange struct {
	http.ResponseWriter
	proxy    *Proxy
	reverse  httputil.ReverseProxy // this exchange is its transport
	entry    entry
	body     *intake.Body // of the request; nil when it has none
	attempts attempts
	span     *tracing.Span // nil for none

	status  int   // of the response once it has begun, 101 for an upgraded connection
	own     bool  // the response is the queue-proxy's, not the application's
	length  int64 // of the response in bytes, if it is known
	written int64 // bytes of the response so far

	http1         bool // the request is HTTP/1, and not an upgrade
	takesInterim  bool // its client understands informational responses
	informational int  // responses of that kind so far

	lastWrite atomic.Int64 // nanoseconds since the arrival; 0 while nothing was written
	upgraded  atomic.Bool
	ctx       context.Context
	cancel    context.CancelCauseFunc // nil when only the client and the end of the proxy can end the request

	// Guarded by mu.
	mu      sync.Mutex
	timer   *time.Timer // nil without timeouts
	stopCut func() bool // keeps a drain from cutting this stream; nil for a request that is none
	ended   bool
}

// newExchange counts the request and returns it with the context that the exchange may end.
func (p *Proxy) newExchange(w http.ResponseWriter, r *http.Request, body *intake.Body) (*exchange, *http.Request) {
	e := &exchange{ResponseWriter: w, proxy: p, reverse: p.reverse, body: body}
	e.reverse.Transport, e.reverse.Rewrite = e, e.rewrite
	e.attempts.reuse, e.attempts.body = &p.reuse, body
	e.takesInterim = r.ProtoAtLeast(1, 1)
	e.http1 = r.ProtoMajor == 1 && r.Header["Upgrade"] == nil
	e.entry.proxied = p.isProxied(r)
	e.entry.stream = isGRPC(r.Header)
	p.meter.enter(&e.entry)
	if e.span = p.opts.Tracer.Begin(r); e.span != nil {
		e.span.Revision(p.opts.Revision)
	}
	first := e.deadline()
	if first == math.MaxInt64 && !e.entry.stream && r.Header["Upgrade"] == nil {
		return e, r
	}
	e.ctx, e.cancel = context.WithCancelCause(r.Context())
	if e.entry.stream {
		e.cutWithStreams()
	}
	if first != math.MaxInt64 {
		e.mu.Lock() // the timer may fire before it is assigned
		defer e.mu.Unlock()
		e.timer = time.AfterFunc(first, e.check)
	}
	return e, r.WithContext(e.ctx)
}

// isGRPC recognises gRPC and gRPC-Web by the media type.
func isGRPC(h http.Header) bool {
	types := h["Content-Type"]
	return len(types) > 0 && strings.HasPrefix(types[0], "application/grpc")
}

// deadline returns when the next timeout is due, counted from the arrival.
//
// As in Knative, the idle time runs from the arrival while nothing has been written. Only the idle time bounds an upgraded connection;
// bytes in either direction count.
func (e *exchange) deadline() time.Duration {
	opts := &e.proxy.opts
	last := time.Duration(e.lastWrite.Load())
	due := time.Duration(math.MaxInt64)
	if opts.Timeout > 0 && !e.upgraded.Load() {
		due = opts.Timeout
	}
	if opts.ResponseStart > 0 && last == 0 {
		due = min(due, opts.ResponseStart)
	}
	if opts.Idle > 0 {
		due = min(due, last+opts.Idle)
	}
	return due
}

// check runs when the timer fires.
func (e *exchange) check() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	due := e.deadline()
	if left := due - time.Since(e.entry.arrived); left > 0 {
		if due != math.MaxInt64 {
			e.timer.Reset(left)
		}
		return
	}
	begun := e.lastWrite.Load() != 0 // read before the request fails: the answer that follows must be written
	e.cancel(errRequestTimeout)
	e.interrupt(begun)
}

// interrupt ends a read, and if asked a write, that waits for the client: these do not observe the context. A writer without deadlines
// goes on waiting. The caller holds the mutex.
func (e *exchange) interrupt(writes bool) {
	e.body.Stop()
	if writes {
		_ = http.NewResponseController(e.ResponseWriter).SetWriteDeadline(e.entry.arrived)
	}
}

// cutWithStreams makes the exchange end when a drain cuts the streams.
func (e *exchange) cutWithStreams() {
	stopCut := context.AfterFunc(e.proxy.streams.context(), func() {
		e.cancel(errShuttingDown)
		// A client that reads gets an answer. A client that does not is not waited for.
		time.AfterFunc(answerWait, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if !e.ended {
				e.interrupt(true)
			}
		})
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopCut = stopCut
}

// Hijack returns the connection that is being upgraded. The request counts as a stream from now on.
func (e *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(e.ResponseWriter).Hijack()
	if err != nil || e.cancel == nil {
		return conn, buffers, err
	}
	e.status = http.StatusSwitchingProtocols
	e.wrote()
	e.upgraded.Store(true)
	e.proxy.meter.upgrade(&e.entry)
	e.cutWithStreams()
	// ReverseProxy closes the application's side, but not that of a client that does not read.
	context.AfterFunc(e.ctx, func() { _ = conn.Close() })
	return &upgradedConn{conn, buffers.Reader, e}, buffers, nil
}

// upgradedConn is the client's side of an upgraded connection. Each read and write restarts the idle timeout.
type upgradedConn struct {
	net.Conn
	ahead    *bufio.Reader // has what the client sent before the answer
	exchange *exchange
}

// Read reads what the client sent after the request.
func (c *upgradedConn) Read(p []byte) (int, error) {
	var from io.Reader = c.Conn
	if c.ahead.Buffered() > 0 {
		from = c.ahead
	}
	n, err := from.Read(p)
	c.exchange.wrote()
	return n, err
}

// Write writes to the client.
func (c *upgradedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.exchange.wrote()
	return n, err
}

// CloseWrite closes one direction; without it ReverseProxy would close both.
func (c *upgradedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// end counts the end of the request, logs it and stops the timer. It sets no deadline on the connection afterwards, which may carry the
// next request by then.
func (e *exchange) end(r *http.Request) {
	e.attempts.end()
	took := e.proxy.meter.leave(&e.entry, e.status)
	if log := e.proxy.log; log != nil {
		log.write(r, e, took)
	}
	e.endSpan(r)
	if e.cancel == nil {
		return
	}
	e.mu.Lock()
	e.ended = true
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.stopCut != nil {
		e.stopCut()
	}
	e.mu.Unlock()
	e.cancel(nil)
}

// endSpan ends the span of the request.
func (e *exchange) endSpan(r *http.Request) {
	if e.span == nil {
		return
	}
	reason := ""
	if e.own {
		reason = e.Header().Get(contract.ReasonHeader)
	}
	cut := e.status == 0 || e.status == clientGone || !e.own && context.Cause(r.Context()) != nil
	e.span.Answered(e.status, reason, !cut)
}

// WriteHeader begins the response, or sends an informational one before it.
func (e *exchange) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		switch e.informational++; {
		case e.informational > maxInformational:
			e.attempts.cancel(errTooManyInformational)
		case e.takesInterim:
			e.ResponseWriter.WriteHeader(status)
		}
		return
	}
	e.wrote()
	e.status = status
	h := e.Header()
	if length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		e.length = length
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http would guess one
	}
	if e.http1 && e.proxy.Draining() {
		// The client opens its next connection elsewhere. On HTTP/2 net/http would send GOAWAY, which loses the requests that are on
		// their way; Retire therefore waits until none arrive any more.
		h["Connection"] = []string{"close"}
	}
	e.body.Answer(e.own)
	e.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the response without delay. ReverseProxy flushes only responses of unknown length, but one of known length may
// arrive slowly too.
func (e *exchange) Write(p []byte) (int, error) {
	n, err := e.ResponseWriter.Write(p)
	e.wrote()
	e.written += int64(n)
	if err == nil && int64(n) < e.length {
		err = http.NewResponseController(e.ResponseWriter).Flush()
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *exchange) wrote() {
	if e.timer != nil || e.entry.stream {
		e.lastWrite.Store(int64(max(time.Since(e.entry.arrived), 1)))
	}
}
