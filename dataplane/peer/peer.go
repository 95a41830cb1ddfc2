// Package peer detects that a client has closed its connection, where net/http does not.
//
// A server watches an HTTP/1.1 connection only after it has read the body of the request. A request that waits in a queue has not read
// its body. It would keep its place in the queue, and be served, long after its client has given up. HTTP/2 ends each request by itself.
//
// It must not know what a request waits for.
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

// Interval is how often a connection is checked while its request waits.
const Interval = 100 * time.Millisecond

type key struct{}

// Remember is for http.Server.ConnContext: it stores the connection in the context of its requests, where Watch finds it.
func Remember(ctx context.Context, c net.Conn) context.Context {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return context.WithValue(ctx, key{}, raw)
		}
	}
	return ctx // it cannot be checked
}

// Watch calls gone with ErrGone once the request's client has closed its connection, if net/http does not detect that itself. Stop it
// before the body is read. Like net/http, it takes a client that has closed its sending side for one that has gone. It does not detect a
// client whose body has not been read.
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
