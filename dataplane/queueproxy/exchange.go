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

	"sluice.dev/sluice/dataplane/intake"
)

// maxInformational bounds how many informational responses may precede a response.
const maxInformational = 32

var errTooManyInformational = errors.New("too many informational responses")

// exchange is one request and its response. It watches the revision's timeouts with a single timer: when one of them
// has passed, the request's context ends with errRequestTimeout. What follows is ReverseProxy's doing: a response that
// has not begun becomes a 504, one that has is cut off, and an upgraded connection is closed. Unlike Knative's it never
// appends its text to a response that has begun, for the client would take that for a complete one.
type exchange struct {
	http.ResponseWriter
	proxy    *Proxy
	reverse  httputil.ReverseProxy // for this exchange alone, which is its transport
	visit    visit
	body     *intake.Body // of the request; nil when it has none
	attempts attempts

	status  int   // of the response once it has begun, 101 for an upgraded connection
	own     bool  // the response is not the application's
	length  int64 // of the response in bytes, if it is known
	written int64 // bytes of it

	http1         bool // the request is one of HTTP/1, and not to be upgraded
	modern        bool // its client knows informational responses
	informational int  // that have come

	lastWrite atomic.Int64 // nanoseconds since the arrival; 0 as long as nothing was written
	upgraded  atomic.Bool
	ctx       context.Context
	cancel    context.CancelCauseFunc // nil when nothing but the client and the proxy's end can end the request

	mu    sync.Mutex
	timer *time.Timer // nil without timeouts
	spare func() bool // takes a stream out of those that a drain cuts
	ended bool
}

// newExchange counts the request in and returns it with the context that it watches over.
func (p *Proxy) newExchange(w http.ResponseWriter, r *http.Request, body *intake.Body) (*exchange, *http.Request) {
	e := &exchange{ResponseWriter: w, proxy: p, reverse: p.reverse, body: body}
	e.reverse.Transport, e.reverse.Rewrite = e, e.rewrite
	e.attempts.reuse, e.attempts.body = &p.reuse, body
	e.modern = r.ProtoAtLeast(1, 1)
	e.http1 = r.ProtoMajor == 1 && r.Header["Upgrade"] == nil
	e.visit.proxied = p.isProxied(r)
	e.visit.stream = isGRPC(r.Header)
	p.meter.enter(&e.visit)
	first := e.deadline()
	if first == math.MaxInt64 && !e.visit.stream && r.Header["Upgrade"] == nil {
		return e, r
	}
	e.ctx, e.cancel = context.WithCancelCause(r.Context())
	if e.visit.stream {
		e.cutWithStreams()
	}
	if first != math.MaxInt64 {
		e.mu.Lock() // the timer may fire before it is assigned
		defer e.mu.Unlock()
		e.timer = time.AfterFunc(first, e.check)
	}
	return e, r.WithContext(e.ctx)
}

// isGRPC tells gRPC, and its dialect for browsers, by the media type.
func isGRPC(h http.Header) bool {
	types := h["Content-Type"]
	return len(types) > 0 && strings.HasPrefix(types[0], "application/grpc")
}

// deadline returns when the next timeout is due, counted from the arrival.
//
// As in Knative the idle time runs from the start while nothing has been written. Of an upgraded connection the response has
// begun, and it ends when its sides end it: only the idle time bounds it, and the bytes of either side count.
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
	if left := due - time.Since(e.visit.arrived); left > 0 {
		if due != math.MaxInt64 {
			e.timer.Reset(left)
		}
		return
	}
	begun := e.lastWrite.Load() != 0 // asked before the request fails: the answer that follows must get through
	e.cancel(errRequestTimeout)
	e.sever(begun)
}

// sever ends a read or write that waits for the client, for these do not heed the context. Where deadlines are not supported
// such a client is waited for. The caller holds the mutex.
func (e *exchange) sever(writes bool) {
	e.body.Stop()
	if writes {
		_ = http.NewResponseController(e.ResponseWriter).SetWriteDeadline(e.visit.arrived)
	}
}

// cutWithStreams has the exchange end when a drain has given streams as long as they may have.
func (e *exchange) cutWithStreams() {
	spare := context.AfterFunc(e.proxy.streams.context(), func() {
		e.cancel(errShuttingDown)
		// A client that reads gets to know why; one that does not is not waited for.
		time.AfterFunc(lastWords, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if !e.ended {
				e.sever(true)
			}
		})
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spare = spare
}

// Hijack hands over the connection that is being upgraded. From now on the request is a stream.
func (e *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(e.ResponseWriter).Hijack()
	if err != nil || e.cancel == nil {
		return conn, buffers, err
	}
	e.status = http.StatusSwitchingProtocols
	e.wrote()
	e.upgraded.Store(true)
	e.proxy.meter.upgrade(&e.visit)
	e.cutWithStreams()
	// ReverseProxy closes the application's side; a client that does not read would hold on to its own.
	context.AfterFunc(e.ctx, func() { _ = conn.Close() })
	return &upgradedConn{conn, buffers.Reader, e}, buffers, nil
}

// upgradedConn is the client's side of an upgraded connection. What is read and written keeps the idle timeout away.
type upgradedConn struct {
	net.Conn
	ahead    *bufio.Reader // has what the client sent before it was answered
	exchange *exchange
}

// Read reads what the client sent, from its first byte behind the request.
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

// CloseWrite ends one direction; without it ReverseProxy would end both.
func (c *upgradedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// end counts the request out, logs it and stops watching. No deadline is set on the connection afterwards: it may
// carry the next request by then.
func (e *exchange) end(r *http.Request) {
	e.attempts.end()
	took := e.proxy.meter.leave(&e.visit, e.status)
	if log := e.proxy.log; log != nil {
		log.write(r, e, took)
	}
	if e.cancel == nil {
		return
	}
	e.mu.Lock()
	e.ended = true
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.spare != nil {
		e.spare()
	}
	e.mu.Unlock()
	e.cancel(nil)
}

// WriteHeader notes that the response has begun, except for informational ones.
func (e *exchange) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		switch e.informational++; {
		case e.informational > maxInformational:
			e.attempts.cancel(errTooManyInformational)
		case e.modern:
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
		h["Content-Type"] = nil // or net/http would make a guess that the application did not
	}
	if e.http1 && e.proxy.Draining() {
		// Tells a client to open its next connection elsewhere. On HTTP/2 net/http would send GOAWAY, which loses the requests that
		// are on their way to us: that waits until none come any more (see Retire).
		h["Connection"] = []string{"close"}
	}
	e.body.Answer(e.own)
	e.ResponseWriter.WriteHeader(status)
}

// Write passes on what the application wrote without delay. ReverseProxy flushes responses of unknown length only; one
// of known length may come slowly too, unless it came as a whole.
func (e *exchange) Write(p []byte) (int, error) {
	n, err := e.ResponseWriter.Write(p)
	e.wrote()
	e.written += int64(n)
	if err == nil && int64(n) < e.length {
		err = http.NewResponseController(e.ResponseWriter).Flush()
	}
	return n, err
}

// Unwrap lets http.ResponseController find the writer's other abilities.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *exchange) wrote() {
	if e.timer != nil || e.visit.stream {
		e.lastWrite.Store(int64(max(time.Since(e.visit.arrived), 1)))
	}
}
