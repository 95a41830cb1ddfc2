package queueproxy

import (
	"bufio"
	"context"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request and its response. It watches the revision's timeouts with a single timer: when one of them
// has passed, the request's context ends with errRequestTimeout. What follows is ReverseProxy's doing: a response that
// has not begun becomes a 504, one that has is cut off, and an upgraded connection is closed. Unlike Knative's it never
// appends its text to a response that has begun, for the client would take that for a complete one.
type exchange struct {
	http.ResponseWriter
	proxy *Proxy
	visit visit

	status  int   // of the response once it has begun, 101 for an upgraded connection
	own     bool  // the response is not the application's
	length  int64 // of the response in bytes, if it is known
	written int64 // bytes of it

	lastWrite atomic.Int64 // nanoseconds since the arrival; 0 as long as nothing was written
	hasBody   bool
	ctx       context.Context
	cancel    context.CancelCauseFunc // nil when nothing but the client and the proxy's end can end the request

	mu    sync.Mutex
	timer *time.Timer // nil without timeouts
	spare func() bool // takes a stream out of those that a drain cuts
	ended bool
}

// newExchange counts the request in and returns it with the context that it watches over.
func (p *Proxy) newExchange(w http.ResponseWriter, r *http.Request) (*exchange, *http.Request) {
	e := &exchange{ResponseWriter: w, proxy: p}
	e.visit.proxied = p.isProxied(r)
	e.visit.stream = isGRPC(r.Header)
	p.meter.enter(&e.visit)
	first := e.deadline()
	if first == math.MaxInt64 && !e.visit.stream && r.Header["Upgrade"] == nil {
		return e, r
	}
	e.hasBody = r.ContentLength != 0
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
// As in Knative the idle time runs from the start while nothing has been written, and nothing that happens on an
// upgraded connection counts as a write.
func (e *exchange) deadline() time.Duration {
	opts := &e.proxy.opts
	last := time.Duration(e.lastWrite.Load())
	due := time.Duration(math.MaxInt64)
	if opts.Timeout > 0 {
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

// sever ends a read or write that waits for the client, for these do not heed the context. Both calls fail only where
// deadlines are not supported, and then such a client is waited for. The caller holds the mutex.
func (e *exchange) sever(writes bool) {
	controller := http.NewResponseController(e.ResponseWriter)
	if e.hasBody {
		_ = controller.SetReadDeadline(e.visit.arrived)
	}
	if writes {
		_ = controller.SetWriteDeadline(e.visit.arrived)
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
	e.proxy.meter.upgrade(&e.visit)
	e.cutWithStreams()
	// ReverseProxy closes the application's side; a client that does not read would hold on to its own.
	context.AfterFunc(e.ctx, func() { _ = conn.Close() })
	return conn, buffers, nil
}

// end counts the request out, logs it and stops watching. No deadline is set on the connection afterwards: it may
// carry the next request by then.
func (e *exchange) end(r *http.Request) {
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
	if status >= http.StatusOK {
		e.wrote()
		e.status = status
		if length, err := strconv.ParseInt(e.Header().Get("Content-Length"), 10, 64); err == nil {
			e.length = length
		}
	}
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
