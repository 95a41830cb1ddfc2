package listener

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/gateway/settings"
)

// sockets are the bound addresses of a gateway.
type Sockets struct {
	logger  hclog.Logger
	drain   time.Duration   // how long a closed socket waits for its requests
	hurry   context.Context // ends when idle connections are waited for no longer
	hurryUp context.CancelFunc
	tasks   sync.WaitGroup // all goroutines that serve or drain
}

func NewSockets(logger hclog.Logger, drain time.Duration) *Sockets {
	s := &Sockets{logger: logger, drain: drain}
	s.hurry, s.hurryUp = context.WithCancel(context.Background())
	return s
}

// retire closes a socket in the background: it accepts no more connections and drains those that it has.
func (s *Sockets) Retire(one *Socket) {
	s.tasks.Go(func() { one.close(s.drain/2, s.drain) })
}

// wait returns when all sockets have drained. They must have been retired. Idle connections stay open for grace, so that clients notice
// that they are to be closed.
func (s *Sockets) Wait(grace time.Duration) {
	enough := time.AfterFunc(grace, s.hurryUp)
	defer enough.Stop()
	s.tasks.Wait()
	s.hurryUp()
}

// listenerVersion is one version of a listener, as its connections are served. It is immutable but for its certificates.
type Version struct {
	Config *settings.Listener
	Chains []*Chain // as in config.all
	Stats  *ConnectionStats
}

// servedChain serves the connections of a filter chain.
type Chain struct {
	TLS     *TLS // nil is plain text
	Handler http.Handler
}

// connectionStats count connections of clients.
type ConnectionStats struct {
	Total  atomic.Uint64
	Active atomic.Int64
}

// chain is the chain for a server name; nil when there is none.
func (v *Version) chain(serverName string) *Chain {
	if i := v.Config.Chain(serverName); i >= 0 {
		return v.Chains[i]
	}
	return nil
}

// socket is a bound address and the servers of its connections. New connections go to the newest server; a server whose settings were
// replaced keeps its connections until it has drained.
type Socket struct {
	// Set once.
	all     *Sockets
	logger  hclog.Logger
	ln      *net.TCPListener
	stop    chan struct{} // closed when no more connections are to be accepted
	stopped chan struct{} // closed when none is accepted any more

	// The owner of the socket writes, connections read.
	current atomic.Pointer[Version]
	server  atomic.Pointer[server]
}

// When a socket closes, connections that are already on their way would be reset. So it is listened on until none has come
// for quiet, but no longer than lastCall, since under load there always is one. That is less than lameDuck, which leaves those
// that came last the time to be answered.
const (
	quiet    = 20 * time.Millisecond
	lastCall = 150 * time.Millisecond
)

// bind takes the address of a listener. Connections wait in the kernel until serve.
func (s *Sockets) Bind(l *settings.Listener) (*Socket, error) {
	ln, err := net.Listen("tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", l.Address, err)
	}
	return &Socket{
		all: s, logger: s.logger.With("listener", l.Name), ln: ln.(*net.TCPListener), stop: make(chan struct{}), stopped: make(chan struct{}),
	}, nil
}

// addr is the address that the socket has: a configured port of 0 has become a real one.
func (s *Socket) Addr() string { return s.ln.Addr().String() }

// serve puts a version of the listener into force, and begins to accept with the first one.
func (s *Socket) Serve(v *Version) {
	old := s.current.Swap(v)
	if old != nil && old.Config.Server == v.Config.Server {
		return
	}
	before := s.server.Swap(s.newServer(v))
	if before == nil {
		s.all.tasks.Go(s.accept)
		return
	}
	s.all.tasks.Go(func() { before.drain(s.all.drain, s.all.drain) })
}

// accept hands connections to the newest server until the socket is stopped.
func (s *Socket) accept() {
	defer close(s.stopped)
	defer func() { _ = s.ln.Close() }()
	for told := false; !s.stopping(); {
		conn, err := s.ln.Accept()
		switch {
		case err == nil:
			told = false
			s.hand(conn)
		case !s.stopping():
			// Out of file descriptors, most likely: some will be given back.
			if !told {
				s.logger.Warn("accepting connections fails", "error", err)
			}
			told = true
			select {
			case <-s.stop:
			case <-time.After(quiet):
			}
		}
	}
	for end := time.Now().Add(lastCall); time.Now().Before(end) && s.takeNext(quiet); {
		continue
	}
	s.takeLast()
}

// takeNext waits so long for another connection, and reports whether there was one.
func (s *Socket) takeNext(wait time.Duration) bool {
	_ = s.ln.SetDeadline(time.Now().Add(wait))
	conn, err := s.ln.Accept()
	if err == nil {
		s.hand(conn)
	}
	return err == nil
}

// takeWaiting hands over the connections that wait to be accepted, and reports whether there were any. It does not wait for an
// end of those that come.
func (s *Socket) takeWaiting() (some bool) {
	for end := time.Now().Add(quiet); time.Now().Before(end) && s.takeNext(time.Millisecond); {
		some = true
	}
	return some
}

// hand gives a connection to the newest server, after its TLS handshake.
func (s *Socket) hand(conn net.Conn) {
	server := s.server.Load()
	if !server.secure {
		s.pass(framing.New(conn))
		return
	}
	server.busy.Add(1)
	s.all.tasks.Go(func() {
		defer server.release()
		if secured := s.handshake(conn, server.http.ReadHeaderTimeout); secured != nil {
			s.pass(secured)
		}
	})
}

// handshake gives a connection its TLS; nil where that fails. A client of HTTP/1 is held to the framing of its requests, which is why
// the http.Server is not left to do it.
func (s *Socket) handshake(conn net.Conn, limit time.Duration) net.Conn {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if limit > 0 {
		defer time.AfterFunc(limit, cancel).Stop()
	}
	secured := tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.configForClient})
	if err := secured.HandshakeContext(ctx); err != nil {
		s.logger.Debug("a TLS handshake failed", "client", conn.RemoteAddr(), "error", err)
		_ = conn.Close()
		return nil
	}
	if secured.ConnectionState().NegotiatedProtocol == "h2" {
		return secured
	}
	return framing.New(secured)
}

// pass passes a connection to the newest server; one that has just been replaced does not take it.
func (s *Socket) pass(conn net.Conn) {
	for !s.server.Load().take(conn) {
		if s.stopping() {
			_ = conn.Close()
			return
		}
	}
}

func (s *Socket) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// close stops accepting and drains: connections are asked to end with their next response, those that are idle after grace
// are closed, and what still runs when limit has passed is cut off. It returns when all is over.
func (s *Socket) close(grace, limit time.Duration) {
	close(s.stop)
	server := s.server.Load()
	if server == nil {
		_ = s.ln.Close()
		return
	}
	server.closing.Store(true)
	_ = s.ln.SetDeadline(time.Unix(1, 0)) // ends the Accept that is waiting
	<-s.stopped
	server.drain(grace, limit)
}

// server serves connections under one set of serverSettings.
type server struct {
	socket *Socket
	http   *http.Server
	secure bool
	cutOff context.CancelFunc
	feed   chan net.Conn
	ended  chan struct{} // closed when no more connections are taken
	served chan struct{} // closed when the http.Server has returned

	closing atomic.Bool
	// busy counts connections, and exchanges that have taken theirs over (WebSocket). idle gets a token when it falls to 0.
	busy  atomic.Int64
	idle  chan struct{}
	stats *ConnectionStats
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
		// "OPTIONS *" is nobody's: its target is no path, and no route matches it.
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
	return chain.TLS.current.Load(), nil // there, or the listener would not be in force
}

// take hands a connection over; it reports false when the server has ended.
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

// release gives back one of busy.
func (srv *server) release() {
	if srv.busy.Add(-1) == 0 {
		select {
		case srv.idle <- struct{}{}:
		default:
		}
	}
}

// wait returns when nothing is busy any more, or when ctx ends.
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
		// The chain of this connection has been taken away; a new connection would not get this far.
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

// stateOf is what net/http does not know of a connection that is held to its framing; nil for plain text.
func stateOf(conn net.Conn) *tls.ConnectionState {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := secured.ConnectionState()
	return &state
}

// drain ends the server; see socket.close.
func (srv *server) drain(grace, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	patience, enough := context.WithTimeout(srv.socket.all.hurry, grace)
	defer enough()
	srv.closing.Store(true)
	close(srv.ended)
	srv.wait(patience)
	_ = srv.http.Shutdown(ctx) // what it could not wait for is cut off below
	srv.wait(ctx)
	srv.cutOff()
	_ = srv.http.Close()
	<-srv.served
}
