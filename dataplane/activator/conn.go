package activator

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/model"
)

// Tuning of the connections to replicas.
const (
	dialTimeout = 2 * time.Second
	maxIdle     = 1024 // idle connections per replica
	bufferBytes = 8 << 10
	// maxResponseHeader bounds the header of a response, in bytes.
	maxResponseHeader = 1 << 20
)

// keepalive has connections end whose replica's machine has vanished.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: model.KeepaliveIdle, Interval: model.KeepaliveInterval, Count: model.KeepaliveProbes}

// connectError is a failure to connect to a replica: nothing has been sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// pool keeps the idle HTTP/1.1 connections to one replica. The newest is used first, so that superfluous ones grow old. The
// zero pool is open.
type pool struct {
	mu     sync.Mutex
	idle   []*conn // oldest first
	closed bool    // nothing is kept
}

// get returns an idle connection that the replica has not closed, or nil.
func (p *pool) get() *conn {
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
		_ = c.Close() // it is not wanted any more
	}
}

func (p *pool) put(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.Close() // it is not wanted any more
	}
}

// prune closes what has been idle for too long.
func (p *pool) prune(now time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) > model.IdleClient {
		n++
	}
	old := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close() // it is not wanted any more
	}
}

func (p *pool) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

func (p *pool) close() {
	p.mu.Lock()
	old := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close() // it is not wanted any more
	}
}

// conn is an HTTP/1.1 connection to a replica. It belongs to one request at a time; the goroutine that sends the request's body
// uses its writing side, the one that reads the response its reading side.
type conn struct {
	net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	since time.Time       // when it became idle
	raw   syscall.RawConn // nil where there is none
	sent  int             // bytes that the kernel took of the present request
	left  int             // bytes that the header may still have; -1 is no bound
	flush func()          // is called before the next read blocks; may be nil
}

func dial(ctx context.Context, address string) (*conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepalive}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &connectError{err}
	}
	c := &conn{Conn: nc}
	c.in, c.out = bufio.NewReaderSize(c, bufferBytes), bufio.NewWriterSize(c, bufferBytes)
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // without it a dead connection is noticed when it is used
	}
	return c, nil
}

var errHeaderTooLarge = errors.New("the header of the response is too large")

// Read reads from the connection; what the client has not been sent by now is flushed first, since reading may take long.
func (c *conn) Read(p []byte) (int, error) {
	if c.flush != nil {
		c.flush()
	}
	if c.left == 0 {
		return 0, errHeaderTooLarge
	}
	if c.left > 0 && len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	if c.left > 0 {
		c.left -= n
	}
	return n, err
}

// Write writes to the connection and counts.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent += n
	return n, err
}

// abort makes all reads and writes fail, now and later.
func (c *conn) abort() { _ = c.SetDeadline(time.Unix(1, 0)) } // it fails only where it is closed already
