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

// errUnsent is for requests of which the application has received nothing.
var errUnsent = errors.New("the application is not there; it has not received the request")

// errAppGone says that the application had closed a connection before a request was written to it.
var errAppGone = errors.New("the application has closed the connection")

// errLost wraps why a connection ended that a request was sent on, and no answer to it had begun: the application may have received it.
var errLost = errors.New("the connection ended before the application answered")

// RoundTrip sends the request to the application, once. An errUnsent says that not a byte of it has left.
//
// The transport would repeat a GET by itself whose connection broke, though the application may have received it: attempts keeps it from that.
func (e *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	a := &e.attempts
	ctx := r.Context()
	if a.cancel = e.cancel; a.cancel == nil {
		ctx, a.cancel = context.WithCancelCause(ctx) // the end of the request's own context frees this one
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
		a.reuse.forget()
	}
	if !a.sent() {
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errLost) || errors.Is(cause, errTooManyInformational) {
		err = cause
	}
	return nil, err
}

// attempts follow one request from connection to connection.
type attempts struct {
	reuse  *reuse
	body   *intake.Body            // of the request; nil when it has none
	cancel context.CancelCauseFunc // ends the sending

	mu    sync.Mutex
	any   bool // an attempt before the present one has sent something
	conn  *appConn
	turn  uint64 // of conn
	mark  int64  // what had been written to conn before
	ended bool   // the request is over
}

func (a *attempts) on(info httptrace.GotConnInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.any = a.hasSent()
	conn, ok := info.Conn.(*appConn)
	if a.conn = conn; ok {
		a.mark = conn.written.Load()
		conn.begins.Store(true)
		conn.spoke.Store(false)
		turn, may := conn.idle.end(a.reuse)
		a.turn = turn
		conn.over.Store(!may)
		if !conn.shared {
			conn.carries.Store(a)
		}
	}
	a.any = a.any || !ok
}

// off is called when the connection waits for another request.
func (a *attempts) off(err error) {
	a.mu.Lock()
	conn, turn := a.conn, a.turn
	a.mu.Unlock()
	if err == nil && conn != nil {
		conn.idle.begin(turn, conn.Close)
	}
}

// lost is called when nothing more comes on an HTTP/1.1 connection. Where the answer has begun, what is wrong with it is found out
// by whoever reads it.
func (a *attempts) lost(conn *appConn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != conn || a.ended {
		return
	}
	if a.hasSent() && !conn.spoke.Load() {
		a.cancel(fmt.Errorf("%w: %w", errLost, err))
	}
	a.body.Stop() // the transport waits for a client that stalls, before it says that the connection is lost
}

// end is called when the request is over.
func (a *attempts) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
}

// sent is whether the application may have received any of the request. On HTTP/2 other requests on the connection count too.
func (a *attempts) sent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hasSent()
}

// hasSent needs the mutex.
func (a *attempts) hasSent() bool { return a.any || a.conn != nil && a.conn.written.Load() != a.mark }

// appConn is a connection to an application.
type appConn struct {
	net.Conn
	shared  bool // by several requests at a time, as HTTP/2 does
	carries atomic.Pointer[attempts]
	written atomic.Int64
	begins  atomic.Bool // a request does, with the next write
	spoke   atomic.Bool // the application has sent something since the request began
	deaf    atomic.Bool // nothing more comes
	over    atomic.Bool // it was given up
	idle    idleness
	raw     syscall.RawConn // nil where it cannot be looked at
}

func newAppConn(c net.Conn, shared bool) *appConn {
	a := &appConn{Conn: c, shared: shared}
	if s, ok := c.(syscall.Conn); ok {
		a.raw, _ = s.SyscallConn() // without it a closed connection is noticed later
	}
	return a
}

// Write fails before anything of a request is written to a connection that the application has closed. The transport would
// find that out when its reader comes to run, and until then requests would be lost on it.
func (a *appConn) Write(p []byte) (int, error) {
	first := a.begins.CompareAndSwap(true, false)
	if first && (a.over.Load() || a.raw != nil && peer.Closed(a.raw)) {
		return 0, errAppGone
	}
	a.written.Add(int64(len(p))) // before, since a part of it may be on its way when an error is returned
	if first && a.deaf.Load() {
		a.written.Add(-int64(len(p))) // see Read
		return 0, errAppGone
	}
	return a.Conn.Write(p)
}

// Read reads, and learns from a connection that the application has closed while it was idle.
func (a *appConn) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if n > 0 {
		a.spoke.Store(true)
	}
	a.idle.read(n, err)
	if err != nil {
		a.deaf.Store(true) // before lost looks at what was written: either that sees the request, or Write does not send it
		if by := a.carries.Load(); by != nil {
			by.lost(a, err)
		}
	}
	return n, err
}

// CloseWrite ends one direction of an upgraded connection; without it ReverseProxy would end both.
func (a *appConn) CloseWrite() error {
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
