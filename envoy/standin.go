package envoy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// learnEvery is the time between two looks at which addresses Envoy listens on.
	learnEvery = 5 * time.Second
	// mostHeld bounds the connections that wait for an Envoy at a time. Further ones are closed.
	mostHeld = 10_000
)

// standIn takes the connections of clients while no Envoy listens, from the end of one that ended by itself until the next one is ready.
// They wait, and are then passed on. Without it the kernel would refuse them. Envoy sees such a connection as one from this machine.
type standIn struct {
	log hclog.Logger

	// Guarded by mu.
	mu        sync.Mutex
	addresses []netip.AddrPort // where Envoy listened last
	listeners []net.Listener   // none while there is an Envoy
	held      []heldConn
}

// heldConn is a connection that waits for an Envoy.
type heldConn struct {
	net.Conn
	to netip.AddrPort
}

// learn follows where Envoy listens, until the context ends.
func (s *standIn) learn(ctx context.Context, a admin) {
	ticker := time.NewTicker(learnEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look(ctx, a)
		}
	}
}

func (s *standIn) look(ctx context.Context, a admin) {
	text, err := a.do(ctx, http.MethodGet, "/listeners")
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses = listening(text)
}

// listening reads the answer to /listeners: a line for each address, NAME::ADDRESS.
func listening(text string) []netip.AddrPort {
	var all []netip.AddrPort
	for line := range strings.Lines(text) {
		_, address, _ := strings.Cut(strings.TrimSpace(line), "::")
		if a, err := netip.ParseAddrPort(address); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// begin takes connections from now on.
func (s *standIn) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) > 0 {
		return // the next Envoy has ended before it was ready
	}
	config := net.ListenConfig{Control: sharePort}
	for _, a := range s.addresses {
		l, err := config.Listen(context.Background(), "tcp", a.String())
		if err != nil {
			s.log.Warn("clients are refused until the next Envoy listens", "address", a, "error", err)
			continue
		}
		s.listeners = append(s.listeners, l)
		go s.accept(l, a)
	}
}

func (s *standIn) accept(l net.Listener, to netip.AddrPort) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(poll) // such as without descriptors
			continue
		}
		s.mu.Lock()
		room := len(s.held) < mostHeld
		if room && len(s.listeners) > 0 {
			s.held = append(s.held, heldConn{conn, to})
		}
		waits := len(s.listeners) > 0
		s.mu.Unlock()
		switch {
		case !room:
			_ = conn.Close() // it had no answer, and gets none
		case !waits: // the next Envoy is ready
			go pass(heldConn{conn, to})
		}
	}
}

// end takes no connections any more, and passes on those that wait.
func (s *standIn) end() {
	s.mu.Lock()
	listeners, held := s.listeners, s.held
	s.listeners, s.held = nil, nil
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	if len(held) > 0 {
		s.log.Info("connections waited for envoy, and are passed on to it", "connections", len(held))
	}
	for _, c := range held {
		go pass(c)
	}
}

// stop closes everything that waits: there is no next Envoy.
func (s *standIn) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for _, c := range s.held {
		_ = c.Close()
	}
	s.listeners, s.held = nil, nil
}

// pass copies bytes both ways between a client and Envoy until both sides have ended.
func pass(c heldConn) {
	defer c.Close()
	to := c.to
	if to.Addr().IsUnspecified() {
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if to.Addr().Is6() {
			loopback = netip.IPv6Loopback()
		}
		to = netip.AddrPortFrom(loopback, to.Port())
	}
	upstream, err := net.DialTimeout("tcp", to.String(), connectTimeout)
	if err != nil {
		return // that one has ended too
	}
	defer upstream.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c.Conn, upstream) // either error means that one side has ended
		closeWrite(c.Conn)
	})
	_, _ = io.Copy(upstream, c.Conn)
	closeWrite(upstream)
	back.Wait()
}

// closeWrite tells the other side that nothing comes any more.
func closeWrite(c net.Conn) {
	if half, ok := c.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
