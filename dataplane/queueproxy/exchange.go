package queueproxy

import (
	"context"
	"math"
	"net/http"
	"strconv"
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
	length int64 // of the response in bytes, if it is known

	timeout, responseStart, idle time.Duration

	start     time.Time
	lastWrite atomic.Int64 // nanoseconds since start; 0 as long as nothing was written
	hasBody   bool
	cancel    context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

// newExchange returns the exchange and the request with the context that it watches over.
func newExchange(w http.ResponseWriter, r *http.Request, opts Options) (*exchange, *http.Request) {
	e := &exchange{
		ResponseWriter: w,
		timeout:        opts.Timeout, responseStart: opts.ResponseStart, idle: opts.Idle,
	}
	first := e.deadline()
	if first == math.MaxInt64 {
		return e, r
	}
	e.start = time.Now()
	e.hasBody = r.ContentLength != 0
	ctx, cancel := context.WithCancelCause(r.Context())
	e.cancel = cancel
	e.mu.Lock() // the timer may fire before it is assigned
	defer e.mu.Unlock()
	e.timer = time.AfterFunc(first, e.check)
	return e, r.WithContext(ctx)
}

// deadline returns when the next timeout is due, counted from start.
//
// As in Knative the idle time runs from the start while nothing has been written, and nothing that happens on an
// upgraded connection counts as a write.
func (e *exchange) deadline() time.Duration {
	last := time.Duration(e.lastWrite.Load())
	due := time.Duration(math.MaxInt64)
	if e.timeout > 0 {
		due = e.timeout
	}
	if e.responseStart > 0 && last == 0 {
		due = min(due, e.responseStart)
	}
	if e.idle > 0 {
		due = min(due, last+e.idle)
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
	if left := due - time.Since(e.start); left > 0 {
		if due != math.MaxInt64 {
			e.timer.Reset(left)
		}
		return
	}
	e.cancel(errRequestTimeout)
	// A read or write on the client's connection does not heed the context. Both calls fail only where deadlines are
	// not supported, and then such a client is waited for.
	controller := http.NewResponseController(e.ResponseWriter)
	if e.hasBody {
		_ = controller.SetReadDeadline(e.start)
	}
	if e.lastWrite.Load() != 0 {
		_ = controller.SetWriteDeadline(e.start)
	}
}

// end stops watching. No deadline is set on the connection afterwards: it may carry the next request by then.
func (e *exchange) end() {
	if e.cancel == nil {
		return
	}
	e.mu.Lock()
	e.ended = true
	e.timer.Stop()
	e.mu.Unlock()
	e.cancel(nil)
}

// WriteHeader notes that the response has begun, except for informational ones.
func (e *exchange) WriteHeader(status int) {
	if status >= http.StatusOK {
		e.wrote()
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
	if err == nil && int64(n) < e.length {
		err = http.NewResponseController(e.ResponseWriter).Flush()
	}
	return n, err
}

// Unwrap lets http.ResponseController find the writer's other abilities.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *exchange) wrote() {
	if e.cancel != nil {
		e.lastWrite.Store(int64(max(time.Since(e.start), 1)))
	}
}
