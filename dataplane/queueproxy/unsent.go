package queueproxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"

	"sluice.dev/sluice/dataplane/peer"
)

// errUnsent is for requests of which the application has received nothing.
var errUnsent = errors.New("the application is not there; it has not received the request")

// errAppGone says that the application had closed a connection before a request was written to it.
var errAppGone = errors.New("the application has closed the connection")

// sender tells requests of which nothing was sent to the application from those that it may have received. The transport
// itself repeats a GET whose connection broke, and what comes of the last attempt says nothing of the first.
type sender struct {
	http.RoundTripper
	reuse *reuse
}

// RoundTrip sends the request. An errUnsent says that not a byte of it has left.
func (s sender) RoundTrip(r *http.Request) (*http.Response, error) {
	a := attempts{reuse: s.reuse}
	trace := &httptrace.ClientTrace{GotConn: a.on, PutIdleConn: a.off}
	res, err := s.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		s.reuse.forget()
	}
	if err != nil && !a.sent() {
		err = fmt.Errorf("%w: %w", errUnsent, err)
	}
	return res, err
}

// attempts follow one request from connection to connection.
type attempts struct {
	reuse *reuse
	any   bool // an attempt before the present one has sent something
	conn  *appConn
	turn  uint64 // of conn
	mark  int64  // what had been written to conn before
}

func (a *attempts) on(info httptrace.GotConnInfo) {
	a.any = a.sent()
	conn, ok := info.Conn.(*appConn)
	if a.conn = conn; ok {
		a.mark = conn.written.Load()
		conn.begins.Store(true)
		turn, may := conn.idle.end(a.reuse)
		a.turn = turn
		conn.over.Store(!may)
	}
	a.any = a.any || !ok
}

// off is called when the connection waits for another request.
func (a *attempts) off(err error) {
	if err == nil && a.conn != nil {
		a.conn.idle.begin(a.turn, a.conn.Close)
	}
}

// sent is whether the application may have received any of the request. On HTTP/2 other requests on the connection count too.
func (a *attempts) sent() bool { return a.any || a.conn != nil && a.conn.written.Load() != a.mark }

// appConn is a connection to an application.
type appConn struct {
	net.Conn
	written atomic.Int64
	begins  atomic.Bool // a request does, with the next write
	over    atomic.Bool // it was given up
	idle    idleness
	raw     syscall.RawConn // nil where it cannot be looked at
}

func newAppConn(c net.Conn) *appConn {
	a := &appConn{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		a.raw, _ = s.SyscallConn() // without it a closed connection is noticed later
	}
	return a
}

// Write fails before anything of a request is written to a connection that the application has closed. The transport would
// find that out when its reader comes to run, and until then requests would be lost on it.
func (a *appConn) Write(p []byte) (int, error) {
	if a.begins.CompareAndSwap(true, false) && (a.over.Load() || a.raw != nil && peer.Closed(a.raw)) {
		return 0, errAppGone
	}
	a.written.Add(int64(len(p))) // before, since a part of it may be on its way when an error is returned
	return a.Conn.Write(p)
}

// Read reads, and learns from a connection that the application has closed while it was idle.
func (a *appConn) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	a.idle.read(n, err)
	return n, err
}

// CloseWrite ends one direction of an upgraded connection; without it ReverseProxy would end both.
func (a *appConn) CloseWrite() error {
	if half, ok := a.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
