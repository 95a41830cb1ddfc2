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

// When a request has been answered, the rest of its body is read up to RestBytes and for RestWait, so that the connection can carry
// another request. Before the server closes a connection on which the client still sends, it discards what arrives for lingering, up to
// RestBytes: a reset would destroy the answer on its way to the client.
const (
	RestBytes = 256 << 10
	RestWait  = time.Second
	lingering = 500 * time.Millisecond
)

// Conn is a client's connection to a server of HTTP/1. Make it with New, and give the server its ConnContext and ConnState.
type Conn struct {
	net.Conn

	mu sync.Mutex
	// Guarded by mu.
	scanner scanner
	pending []byte // has arrived and belongs to a later request
	err     error  // what every Read returns from now on
	gone    bool   // the client has closed its side

	closed atomic.Bool
}

// New wraps the connection of a client.
func New(conn net.Conn) *Conn { return &Conn{Conn: conn} }

type contextKey struct{}

// preface is the method of the request that net/http makes of "PRI * HTTP/2.0" without the rest of HTTP/2's preface.
const preface = "PRI"

// ConnContext is for http.Server.ConnContext; Of finds the Conn of a request by it.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*Conn); ok {
		return context.WithValue(ctx, contextKey{}, c)
	}
	return ctx
}

// Of returns the connection of a request, or nil if that is not a Conn.
func Of(r *http.Request) *Conn {
	if r.ProtoMajor != 1 && r.Method != preface {
		return nil
	}
	c, _ := r.Context().Value(contextKey{}).(*Conn)
	return c
}

// ConnState is for http.Server.ConnState. It closes a connection that can carry no other request, and stops parsing one that was hijacked.
func ConnState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*Conn)
	switch {
	case !ok:
	case state == http.StateHijacked:
		c.mu.Lock()
		c.scanner = scanner{state: unframed}
		c.mu.Unlock()
	case state == http.StateIdle && c.over():
		_ = c.Close() // the server notices
	}
}

// Read reads the rest of the current request, or the beginning of the next one.
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

// advance scans what has arrived, and returns how many bytes of it may be delivered.
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

// Refusal returns why the request must be refused with 400, and "" if it need not be. A refused request is the last of its connection.
func (c *Conn) Refusal() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scanner.state == unframed {
		c.scanner.refuse("not HTTP/1")
		c.scanner.state, c.err = ended, io.EOF
	}
	return c.scanner.refusal
}

// Finish reads the rest of a request's body after its answer is complete. The connection ends when that takes longer than wait, or is
// more than RestBytes. With a wait of 0 it goes on only if the rest has arrived already.
func (c *Conn) Finish(body io.Reader, wait time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	n, err := io.Copy(io.Discard, io.LimitReader(body, RestBytes))
	if err != nil || n == RestBytes {
		c.End()
		// net/http has read ahead. It would panic if it found the end of the body after the handler has returned.
		_, _ = io.Copy(io.Discard, body)
	}
}

// End makes the request that is being served the connection's last one: nothing more is read.
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

// Write writes to the client until the connection is closed.
func (c *Conn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// CloseWrite closes the server's side.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection. While the client is in the middle of a request, it closes the server's side at once and the other side
// after lingering.
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
	_, _ = io.CopyN(io.Discard, c.Conn, RestBytes) // the connection is closed in any case
}
