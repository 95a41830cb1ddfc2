package envoy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
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
	// soon is when a connection is passed on to an Envoy that seems to run.
	soon = 250 * time.Millisecond
)

// standIn takes the connections of clients while no Envoy listens, from the end of one that ended by itself until the next one is ready.
// They wait, and are then passed on. Without it the kernel would refuse them. Envoy sees such a connection as one from this machine.
//
// It listens beside Envoy all the time, since a socket that is opened when Envoy has ended comes some milliseconds too late. The kernel
// spreads the connections of a port over the sockets that share it, by a program that leaves out ours while Envoy has its own.
type standIn struct {
	log hclog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	beside  map[netip.AddrPort]*beside
	waiting bool // there is no Envoy
	held    []heldConn
}

// beside is a listener of ours at an address of Envoy.
type beside struct {
	net.Listener
	first bool // our socket came before those of Envoy, not after them
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

// look listens where Envoy does, and nowhere else. It passes on what waited for Envoy, which is ready.
func (s *standIn) look(ctx context.Context, a admin) {
	text, err := a.do(ctx, http.MethodGet, "/listeners")
	if err != nil || !canShare {
		return
	}
	count, err := a.do(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape("^server.concurrency$"))
	if err != nil {
		return
	}
	_, number, _ := strings.Cut(strings.TrimSpace(count), ": ")
	sockets, err := strconv.Atoi(number) // at each address
	if err != nil || sockets < 1 {
		return
	}
	addresses := listening(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return // that Envoy has ended
	}
	s.waiting = false
	for address, l := range s.beside {
		if !slices.Contains(addresses, address) {
			_ = l.Close()
			delete(s.beside, address)
		}
	}
	for _, address := range addresses {
		s.stand(address, sockets)
	}
	s.passAll()
}

// stand listens at an address beside so many sockets of Envoy. It is called with mu held.
func (s *standIn) stand(address netip.AddrPort, sockets int) {
	l, there := s.beside[address]
	if !there {
		config := net.ListenConfig{Control: sharePort}
		config.SetMultipathTCP(false) // Go's default, whose sockets have no such program
		listener, err := config.Listen(context.Background(), "tcp", address.String())
		if err != nil {
			s.log.Debug("clients are refused while Envoy is started again", "address", address, "error", err)
			return
		}
		l = &beside{Listener: listener}
	}
	if err := leaveOut(l, sockets); err != nil {
		s.log.Warn("clients are refused while Envoy is started again", "address", address, "error", err)
		_ = l.Close()
		delete(s.beside, address)
		return
	}
	if !there {
		s.beside[address] = l
		go s.accept(l, address)
	}
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

// begin holds connections from now on: Envoy has ended.
func (s *standIn) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = true
	for _, l := range s.beside {
		l.first = true // those of the next Envoy come after it
	}
}

// accept takes connections until the listener is closed.
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
		if len(s.held) < mostHeld {
			s.held = append(s.held, heldConn{conn, to})
		} else {
			_ = conn.Close() // it had no answer, and gets none
		}
		s.mu.Unlock()
		// It may be that Envoy has ended, and nobody has noticed yet; or that one has just begun to listen.
		time.AfterFunc(soon, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.waiting {
				s.passAll()
			}
		})
	}
}

// passAll passes on what waits. It is called with mu held.
func (s *standIn) passAll() {
	if len(s.held) > 0 {
		s.log.Info("connections waited for envoy, and are passed on to it", "connections", len(s.held))
	}
	for _, c := range s.held {
		go pass(c)
	}
	s.held = nil
}

// stop closes everything: the Envoy that runs is the last one, and ends.
func (s *standIn) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.beside {
		_ = l.Close()
	}
	clear(s.beside)
	for _, c := range s.held {
		_ = c.Close()
	}
	s.held = nil
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
