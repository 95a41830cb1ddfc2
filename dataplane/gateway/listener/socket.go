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

// Sockets are the bound addresses of a gateway.
type Sockets struct {
	logger  hclog.Logger
	drain   time.Duration   // how long a retired socket waits for its requests
	hurry   context.Context // ends when no socket waits for idle connections any more
	hurryUp context.CancelFunc
	tasks   sync.WaitGroup // all goroutines that serve or drain
}

// NewSockets makes an empty set. drain bounds how long a retired socket waits for its requests.
func NewSockets(logger hclog.Logger, drain time.Duration) *Sockets {
	s := &Sockets{logger: logger, drain: drain}
	s.hurry, s.hurryUp = context.WithCancel(context.Background())
	return s
}

// Retire closes a socket in the background: it accepts no more connections and drains those that it has.
func (s *Sockets) Retire(one *Socket) {
	s.tasks.Go(func() { one.close(s.drain/2, s.drain) })
}

// Wait returns when all sockets have drained. The caller has retired them. Idle connections stay open for grace, so that clients learn
// with a last response that they must open new ones.
func (s *Sockets) Wait(grace time.Duration) {
	enough := time.AfterFunc(grace, s.hurryUp)
	defer enough.Stop()
	s.tasks.Wait()
	s.hurryUp()
}

// Version is one version of a listener with what serves its connections. It is immutable but for its certificates.
type Version struct {
	Config *settings.Listener
	Chains []*Chain // one for each of Config.All
	Stats  *ConnectionStats
}

// Chain serves the connections of a filter chain.
type Chain struct {
	TLS     *TLS // nil is plain text
	Handler http.Handler
}

// ConnectionStats count connections of clients.
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

// Socket is a bound address and the servers of its connections. New connections go to the newest server; a server whose settings were
// replaced keeps its connections until it has drained.
type Socket struct {
	// Set once.
	all     *Sockets
	logger  hclog.Logger
	ln      *net.TCPListener
	stop    chan struct{} // closed when no more connections are to be accepted
	stopped chan struct{} // closed when none is accepted any more

	// Written by whoever calls Serve, read by each connection.
	current atomic.Pointer[Version]
	server  atomic.Pointer[server]
}

// Closing a socket resets the connections that the kernel has not handed over. So a socket goes on accepting until no connection has come
// for quiet, and for lastCall at most, since under load there always is one. The gateway's lameDuck is longer, which leaves the last
// connections the time to be served.
const (
	quiet    = 20 * time.Millisecond
	lastCall = 150 * time.Millisecond
)

// Bind takes the address of a listener. Connections wait in the kernel until Serve.
func (s *Sockets) Bind(l *settings.Listener) (*Socket, error) {
	ln, err := net.Listen("tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", l.Address, err)
	}
	return &Socket{
		all: s, logger: s.logger.With("listener", l.Name), ln: ln.(*net.TCPListener),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}, nil
}

// Addr is the address that the socket has: a configured port of 0 has become a real one.
func (s *Socket) Addr() string { return s.ln.Addr().String() }

// Serve puts a version of the listener into force. The first one begins to accept connections. One caller at a time.
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
	for warned := false; !s.stopping(); {
		conn, err := s.ln.Accept()
		switch {
		case err == nil:
			warned = false
			s.hand(conn)
		case !s.stopping():
			// Most likely the process is out of file descriptors until some are closed.
			if !warned {
				s.logger.Warn("accepting connections fails", "error", err)
			}
			warned = true
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

// takeNext waits for another connection, and reports whether there was one.
func (s *Socket) takeNext(wait time.Duration) bool {
	_ = s.ln.SetDeadline(time.Now().Add(wait))
	conn, err := s.ln.Accept()
	if err == nil {
		s.hand(conn)
	}
	return err == nil
}

// takeWaiting hands over the connections that wait to be accepted, and reports whether there were any. It ends after quiet, however many
// still come.
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

// handshake makes a connection TLS; nil where that fails. The http.Server cannot do it, because an HTTP/1 connection must be wrapped by
// package framing after the handshake.
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

// pass passes a connection to the newest server. It tries again when that server has just been replaced.
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

// close stops accepting and drains. Each connection ends with its next response, those that are idle after grace are closed, and requests
// that still run after limit are cut off. It returns when all connections have ended.
func (s *Socket) close(grace, limit time.Duration) {
	close(s.stop)
	server := s.server.Load()
	if server == nil {
		_ = s.ln.Close()
		return
	}
	server.closing.Store(true)
	_ = s.ln.SetDeadline(time.Unix(1, 0)) // ends the Accept that waits
	<-s.stopped
	server.drain(grace, limit)
}
