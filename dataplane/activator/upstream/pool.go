package upstream

import (
	"sync"
	"time"

	"sluice.dev/sluice/model"
)

// maxIdle bounds the idle connections to one replica.
const maxIdle = 1024

// Pool keeps the idle HTTP/1.1 connections to one replica. It hands out the newest first, so that superfluous ones age and are closed.
// The zero Pool is open.
type Pool struct {
	mu     sync.Mutex
	idle   []*Conn // oldest first
	closed bool    // keeps nothing
}

// Get returns an idle connection that the replica has not closed, or nil.
func (p *Pool) Get() *Conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if c.alive() {
			return c
		}
		_ = c.Close() // it is of no use any more
	}
}

// Put gives back a connection on which the next request can be sent.
func (p *Pool) Put(c *Conn) {
	c.since = time.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.Close() // it is of no use any more
	}
}

// Prune closes the connections that have been idle for longer than model.IdleClient.
func (p *Pool) Prune(now time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) > model.IdleClient {
		n++
	}
	old := append([]*Conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	closeAll(old)
}

// Open has the pool keep connections again.
func (p *Pool) Open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

// Close closes all idle connections, and those that are put back until Open.
func (p *Pool) Close() {
	p.mu.Lock()
	old := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	closeAll(old)
}

func closeAll(conns []*Conn) {
	for _, c := range conns {
		_ = c.Close() // it is of no use any more
	}
}
