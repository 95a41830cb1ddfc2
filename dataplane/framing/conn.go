package framing

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What is left of a body when its request has been answered is read up to RestBytes and for RestWait, so that the connection can have
// another request. Before a connection is closed under a client that still sends, what it sends is thrown away for lingering, up to
// RestBytes again: a reset would take the answer from it.
const (
	RestBytes = 256 << 10
	RestWait  = time.Second
	lingering = 500 * time.Millisecond
)

// Conn is a client's connection to a server of HTTP/1. Make it with New, and give the server its ConnContext and ConnState.
type Conn struct {
	net.Conn

	mu      sync.Mutex
	scanner scanner
	pending []byte // has come, and is not part of what has been read so far
	err     error  // that every Read returns from now on
	gone    bool   // the client has ended its side
	closed  atomic.Bool
}

// New makes the connection of a client.
func New(conn net.Conn) *Conn { return &Conn{Conn: conn} }

type contextKey struct{}

// preface is the method of what net/http takes for a request where "PRI * HTTP/2.0" is not followed by the rest of HTTP/2's preface.
const preface = "PRI"

// ConnContext is for http.Server: requests find their Conn by Of.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*Conn); ok {
		return context.WithValue(ctx, contextKey{}, c)
	}
	return ctx
}

// Of is the connection of a request; nil for one that no Conn has brought.
func Of(r *http.Request) *Conn {
	if r.ProtoMajor != 1 && r.Method != preface {
		return nil
	}
	c, _ := r.Context().Value(contextKey{}).(*Conn)
	return c
}

// ConnState is for http.Server: it closes a connection that can have no other request, and lets go of one that has changed its protocol.
func ConnState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*Conn)
	switch {
	case !ok:
	case state == http.StateHijacked:
		c.mu.Lock()
		c.scanner = scanner{state: unframed}
		c.mu.Unlock()
	case state == http.StateIdle && c.over():
		_ = c.Close() // the server finds out
	}
}

// Read reads what belongs to the current request, or begins the next one.
func (c *Conn) Read(p []byte) (int, error) {
	if n, err, ok := c.readPending(p); ok {
		return n, err
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == io.EOF { //nolint:errorlint // a connection says EOF as it is
		c.gone = true
	}
	if c.err != nil {
		return 0, c.err
	}
	k := c.advance(p[:n])
	if k == n {
		return n, err
	}
	c.pending = append(c.pending[:0], p[k:n]...)
	if k == 0 {
		return 0, c.err
	}
	return k, nil
}

func (c *Conn) readPending(p []byte) (int, error, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err, true
	}
	if len(c.pending) == 0 || len(p) == 0 {
		return 0, nil, false
	}
	k := c.advance(p[:copy(p, c.pending)])
	if c.pending = c.pending[k:]; len(c.pending) == 0 {
		c.pending = nil
	}
	if k == 0 {
		return 0, c.err, true
	}
	return k, nil, true
}

// advance scans what has come, and gives how much of it may be handed on.
func (c *Conn) advance(p []byte) int {
	k := c.scanner.scan(p)
	if c.scanner.state == ended && c.err == nil {
		c.err = errMalformed
		if c.scanner.refusal != "" {
			c.err = io.EOF
		}
	}
	return k
}

// Refusal is why the request that has been read must be refused, with 400 "Bad Request"; empty if it need not. The connection has
// no other request then.
func (c *Conn) Refusal() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scanner.state == unframed {
		c.scanner.refuse("not HTTP/1")
		c.scanner.state, c.err = ended, io.EOF
	}
	return c.scanner.refusal
}

// Finish reads what is left of a request's body, for so long, after its answer is complete. Where that is too much or takes too long
// the connection ends, which is what a wait of 0 comes to unless the rest is there already.
func (c *Conn) Finish(body io.Reader, wait time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	n, err := io.Copy(io.Discard, io.LimitReader(body, RestBytes))
	if err != nil || n == RestBytes {
		c.End()
		// net/http has read ahead. Were it to find the end of the body only after the handler has returned, it would panic.
		_, _ = io.Copy(io.Discard, body)
	}
}

// End has the connection end with the request that is being served: nothing more is read from it.
func (c *Conn) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = io.EOF
	}
	c.scanner.state = ended
}

func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// Write writes to the client, until the connection is closed, whatever the server thinks that it has read.
func (c *Conn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// CloseWrite ends the server's side.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection: of a client that is in the middle of a request its own side first, and the other one later.
func (c *Conn) Close() error {
	c.mu.Lock()
	sending := !c.scanner.idle() && c.scanner.state != unframed && !c.gone
	again := c.closed.Swap(true)
	if sending && c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	switch {
	case again:
		return nil
	case sending:
		go c.linger()
		return nil
	}
	return c.Conn.Close()
}

func (c *Conn) linger() {
	defer func() { _ = c.Conn.Close() }()
	if c.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.Conn, RestBytes) // whatever it is, the end comes
}
