// Package relay forwards connections between a client and a server, so that a test can cut them while both run. It does not look
// at their bytes.
package relay

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Relay listens on a loopback address and forwards connections to a server.
type Relay struct {
	// Address is where clients connect.
	Address string

	// Set once.
	server   string
	listener net.Listener

	mu sync.Mutex
	// Guarded by mu.
	isCut bool // nothing is forwarded
	conns map[net.Conn]bool
	since time.Time // when the newest connection was made
}

// New makes a relay to a server's address. The caller must Close it.
func New(server string) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for a relay: %w", err)
	}
	r := &Relay{Address: l.Addr().String(), server: server, listener: l, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.forward(conn)
		}
	}()
	return r, nil
}

func (r *Relay) forward(from net.Conn) {
	defer func() { _ = from.Close() }() // the other side may have closed it
	to, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	r.mu.Lock()
	if r.isCut {
		r.mu.Unlock()
		return
	}
	r.conns[from], r.conns[to], r.since = true, true, time.Now()
	r.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = pair[0].(*net.TCPConn).WriteTo(pair[1])
			done <- struct{}{}
		}()
	}
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, from)
	delete(r.conns, to)
}

// Cut closes all connections, and new ones until Restore.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = true
	for c := range r.conns {
		_ = c.Close() // a side may have closed it
	}
}

// Restore forwards new connections again.
func (r *Relay) Restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = false
}

// Age returns how long ago the newest connection was made; 0 if there is none.
func (r *Relay) Age() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) == 0 {
		return 0
	}
	return time.Since(r.since)
}

// Close ends the relay and its connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.Cut()
}
