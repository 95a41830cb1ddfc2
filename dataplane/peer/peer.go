// Package peer finds out that the other side of a connection has closed it, where net/http does not.
//
// A server watches a connection of HTTP/1.1 only when the body of the request has been read, and a request that waits for its turn
// has not read it: it would be served long after its client has given up, and keep the place of another one until then. HTTP/2 says
// of each request that it is over.
package peer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ErrGone says that the client has closed its connection.
var ErrGone = errors.New("the client has gone")

// Interval is how often a connection is looked at while its request waits.
const Interval = 100 * time.Millisecond

type key struct{}

// Remember is for http.Server.ConnContext: it has the requests on a connection know it.
func Remember(ctx context.Context, c net.Conn) context.Context {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return context.WithValue(ctx, key{}, raw)
		}
	}
	return ctx // it cannot be looked at
}

// Watch calls gone with ErrGone once the request's client has closed its connection, as far as net/http does not see that itself. It is
// to be stopped before the body is read. As net/http does, it takes a client that sends no more for one that has gone. One whose
// body is still on its way is not looked through.
func Watch(r *http.Request, gone context.CancelCauseFunc) (stop func()) {
	raw, ok := r.Context().Value(key{}).(syscall.RawConn)
	if !ok || r.ProtoMajor != 1 || r.ContentLength == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	var look func()
	look = func() {
		switch {
		case ctx.Err() != nil:
		case Closed(raw):
			gone(ErrGone)
		default:
			time.AfterFunc(Interval, look)
		}
	}
	time.AfterFunc(Interval, look)
	return cancel
}
