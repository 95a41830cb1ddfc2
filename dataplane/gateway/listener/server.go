package listener

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/framing"
)

// server serves connections under one set of settings.
type server struct {
	// Set once.
	socket *Socket
	http   *http.Server
	secure bool
	cutOff context.CancelFunc // ends the requests that still run
	stats  *ConnectionStats
	feed   chan net.Conn
	ended  chan struct{} // closed when no more connections are taken
	served chan struct{} // closed when the http.Server has returned
	idle   chan struct{} // gets a token when busy falls to 0

	// By any goroutine.
	closing atomic.Bool  // responses ask the client to close the connection
	busy    atomic.Int64 // connections, and requests that have taken theirs over (WebSocket)
}

func (s *Socket) newServer(v *Version) *server {
	settings := &v.Config.Server
	base, cutOff := context.WithCancel(context.Background())
	srv := &server{
		socket: s, cutOff: cutOff,
		feed: make(chan net.Conn), ended: make(chan struct{}), served: make(chan struct{}), idle: make(chan struct{}, 1),
		stats: v.Stats, secure: settings.TLS,
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(settings.TLS)
	protocols.SetUnencryptedHTTP2(!settings.TLS)
	srv.http = &http.Server{
		Handler:           srv,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: settings.MaxStreams},
		ReadHeaderTimeout: settings.HeaderTimeout,
		IdleTimeout:       settings.IdleTimeout,
		MaxHeaderBytes:    settings.MaxHeaderBytes,
		ErrorLog:          s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       framing.ConnContext,
		ConnState:         srv.connState,
		// "OPTIONS *" has no path, and so no route.
		DisableGeneralOptionsHandler: true,
	}
	s.all.tasks.Go(func() {
		defer close(srv.served)
		_ = srv.http.Serve(srv) // returns when drain shuts it down
	})
	return srv
}

func (s *Socket) configForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	chain := s.current.Load().chain(hello.ServerName)
	if chain == nil {
		return nil, fmt.Errorf("no filter chain for server name %q", hello.ServerName)
	}
	return chain.TLS.current.Load(), nil // set: the listener waited for its certificates before Serve
}

// take serves a connection; it reports false when the server has ended.
func (srv *server) take(conn net.Conn) bool {
	srv.busy.Add(1)
	select {
	case srv.feed <- conn:
		return true
	case <-srv.ended:
		srv.release()
		return false
	}
}

// Accept, Close and Addr make the server the net.Listener of its http.Server.
func (srv *server) Accept() (net.Conn, error) {
	select {
	case conn := <-srv.feed:
		return conn, nil
	case <-srv.ended:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the socket may live on with another server.
func (srv *server) Close() error { return nil }

// Addr is the address of the socket.
func (srv *server) Addr() net.Addr { return srv.socket.ln.Addr() }

func (srv *server) connState(conn net.Conn, state http.ConnState) {
	framing.ConnState(conn, state)
	switch state {
	case http.StateNew:
		srv.stats.Total.Add(1)
		srv.stats.Active.Add(1)
	case http.StateClosed, http.StateHijacked:
		srv.stats.Active.Add(-1)
		srv.release()
	}
}

// release takes one off busy.
func (srv *server) release() {
	if srv.busy.Add(-1) == 0 {
		select {
		case srv.idle <- struct{}{}:
		default:
		}
	}
}

// wait returns when busy is 0, or when ctx ends.
func (srv *server) wait(ctx context.Context) {
	for srv.busy.Load() > 0 {
		select {
		case <-srv.idle:
		case <-ctx.Done():
			return
		}
	}
}

// ServeHTTP serves a request under the newest version of the listener.
func (srv *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := ""
	if c := framing.Of(r); c != nil {
		r.TLS = stateOf(c.Conn)
	}
	if r.TLS != nil {
		name = r.TLS.ServerName
	}
	chain := srv.socket.current.Load().chain(name)
	if chain == nil {
		// The filter chain was removed after the handshake; a new connection would fail in it.
		w.Header().Set("Connection", "close")
		http.Error(w, "no filter chain", http.StatusMisdirectedRequest)
		return
	}
	if len(r.Header["Upgrade"]) > 0 {
		srv.busy.Add(1)
		defer srv.release()
	} else if srv.closing.Load() {
		w.Header().Set("Connection", "close") // on HTTP/2 this sends GOAWAY
	}
	chain.Handler.ServeHTTP(w, r)
}

// stateOf is the TLS of a connection that package framing has wrapped, where net/http does not see it; nil for plain text.
func stateOf(conn net.Conn) *tls.ConnectionState {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := secured.ConnectionState()
	return &state
}

// drain ends the server; see Socket.close.
func (srv *server) drain(grace, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	idle, enough := context.WithTimeout(srv.socket.all.hurry, grace)
	defer enough()
	srv.closing.Store(true)
	close(srv.ended)
	srv.wait(idle)
	_ = srv.http.Shutdown(ctx) // requests that outlast ctx are cut off below
	srv.wait(ctx)
	srv.cutOff()
	_ = srv.http.Close()
	<-srv.served
}
