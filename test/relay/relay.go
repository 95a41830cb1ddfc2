// Package relay carries connections between a client and a server, so that a test can cut them while both live. It does not look
// at what it carries.
package relay

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Relay listens on a loopback address and carries what comes to a server.
type Relay struct {
	// Address is for the client.
	Address string

	server   string
	listener net.Listener

	mu    sync.Mutex
	away  bool // nothing is carried
	conns map[net.Conn]bool
	since time.Time // of the newest connection
}

// New makes a relay to a server's address. Close it.
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
			go r.carry(conn)
		}
	}()
	return r, nil
}

func (r *Relay) carry(from net.Conn) {
	defer func() { _ = from.Close() }() // or the other side has
	to, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	r.mu.Lock()
	if r.away {
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

// Cut ends what is carried, and refuses more until Restore.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	for c := range r.conns {
		_ = c.Close() // it may have ended
	}
}

// Restore carries connections again.
func (r *Relay) Restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}

// Carrying is for how long the newest connection has been carried; 0 when there is none.
func (r *Relay) Carrying() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) == 0 {
		return 0
	}
	return time.Since(r.since)
}

// Close ends the relay and all that it carries.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.Cut()
}
