package queueproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"

	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/peer"
)

// errUnsent says that the application has received nothing of the request.
var errUnsent = errors.New("the application is not there; it has not received the request")

// errAppGone says that the application closed a connection before a request was written to it.
var errAppGone = errors.New("the application has closed the connection")

// errLost wraps the end of a connection on which a request was sent and no answer has begun: the application may have received it.
var errLost = errors.New("the connection ended before the application answered")

// RoundTrip sends the request to the application, once. errUnsent says that not a byte of it was sent.
//
// When a connection breaks, the transport would repeat a GET by itself although the application may have received it; attempts prevents
// that.
func (e *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	a := &e.attempts
	ctx := r.Context()
	if a.cancel = e.cancel; a.cancel == nil {
		ctx, a.cancel = context.WithCancelCause(ctx) // it ends with the request's own context
	}
	trace := &httptrace.ClientTrace{GotConn: a.on, PutIdleConn: a.off}
	if e.body.Expects() {
		trace.Got100Continue = e.body.Want
	}
	res, err := e.proxy.transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err == nil {
		return res, nil
	}
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		a.reuse.reset()
	}
	if !a.sent() {
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errLost) || errors.Is(cause, errTooManyInformational) {
		err = cause
	}
	return nil, err
}

// attempts tracks on which connections the transport sends one request.
type attempts struct {
	// Set once.
	reuse  *reuse
	body   *intake.Body            // of the request; nil when it has none
	cancel context.CancelCauseFunc // ends the sending

	// Guarded by mu.
	mu         sync.Mutex
	sentBefore bool // an earlier attempt has sent something
	conn       *appConn
	turn       uint64 // of conn
	mark       int64  // bytes that had been written to conn before
	ended      bool   // the request is over
}

func (a *attempts) on(info httptrace.GotConnInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sentBefore = a.hasSent()
	conn, ok := info.Conn.(*appConn)
	if a.conn = conn; ok {
		a.mark = conn.written.Load()
		conn.fresh.Store(true)
		conn.answered.Store(false)
		turn, may := conn.idle.end(a.reuse)
		a.turn = turn
		conn.retired.Store(!may)
		if !conn.shared {
			conn.attempts.Store(a)
		}
	}
	a.sentBefore = a.sentBefore || !ok
}

// off is called when the connection is idle again.
func (a *attempts) off(err error) {
	a.mu.Lock()
	conn, turn := a.conn, a.turn
	a.mu.Unlock()
	if err == nil && conn != nil {
		conn.idle.begin(turn, conn.Close)
	}
}

// lost is called when an HTTP/1.1 connection has ended. If the answer has begun, its reader gets the error.
func (a *attempts) lost(conn *appConn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != conn || a.ended {
		return
	}
	if a.hasSent() && !conn.answered.Load() {
		a.cancel(fmt.Errorf("%w: %w", errLost, err))
	}
	a.body.Stop() // or the transport would wait for a client that stalls before it reports the error
}

// end is called when the request is over.
func (a *attempts) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
}

// sent reports whether the application may have received any of the request. On HTTP/2 the other requests on the connection count too.
func (a *attempts) sent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hasSent()
}

// hasSent is sent for a caller that holds the mutex.
func (a *attempts) hasSent() bool {
	return a.sentBefore || a.conn != nil && a.conn.written.Load() != a.mark
}

// appConn is a connection to an application.
type appConn struct {
	net.Conn
	// Set once.
	shared bool            // by several requests at a time, as in HTTP/2
	raw    syscall.RawConn // nil where there is none

	attempts   atomic.Pointer[attempts] // of the request that it carries
	written    atomic.Int64
	fresh      atomic.Bool // the next write begins a request
	answered   atomic.Bool // the application has sent something since the request began
	readFailed atomic.Bool // nothing more arrives
	retired    atomic.Bool // it was idle for too long
	idle       idleness
}

func newAppConn(c net.Conn, shared bool) *appConn {
	a := &appConn{Conn: c, shared: shared}
	if s, ok := c.(syscall.Conn); ok {
		a.raw, _ = s.SyscallConn() // without it a closed connection is noticed later
	}
	return a
}

// Write does not write a request to a connection that the application has closed, but fails. The transport would notice that only when its
// reader runs, and requests would be lost until then.
func (a *appConn) Write(p []byte) (int, error) {
	first := a.fresh.CompareAndSwap(true, false)
	if first && (a.retired.Load() || a.raw != nil && peer.Closed(a.raw)) {
		return 0, errAppGone
	}
	a.written.Add(int64(len(p))) // before the write, which may send a part and return an error
	if first && a.readFailed.Load() {
		a.written.Add(-int64(len(p))) // see Read
		return 0, errAppGone
	}
	return a.Conn.Write(p)
}

// Read reads, and records how long a connection that the application closes has been idle.
func (a *appConn) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if n > 0 {
		a.answered.Store(true)
	}
	a.idle.read(n, err)
	if err != nil {
		a.readFailed.Store(true) // before lost reads what was written: either lost sees the request, or Write does not send it
		if by := a.attempts.Load(); by != nil {
			by.lost(a, err)
		}
	}
	return n, err
}

// CloseWrite closes one direction of an upgraded connection; without it ReverseProxy would close both.
func (a *appConn) CloseWrite() error {
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
