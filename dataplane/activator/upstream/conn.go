package upstream

import (
	"bufio"
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"sluice.dev/sluice/model"
)

const (
	// DialTimeout bounds how long a connection may take to be made.
	DialTimeout = 2 * time.Second
	// maxResponseHeader bounds the header of a response, in bytes.
	maxResponseHeader = 1 << 20
	// bufferBytes is the size of each of a connection's two buffers.
	bufferBytes = 8 << 10
)

// keepalive detects a replica whose machine has vanished.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: model.KeepaliveIdle, Interval: model.KeepaliveInterval,
	Count: model.KeepaliveProbes}

// ConnectError is a failure to connect to a replica, or to reach its application: the request has not been received.
type ConnectError struct{ error }

// NewConnectError wraps the cause.
func NewConnectError(err error) *ConnectError { return &ConnectError{err} }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.error }

// Conn is an HTTP/1.1 connection to a replica. One request at a time has it: the goroutine that sends the request's body writes to Out,
// the one that reads the response reads from In.
type Conn struct {
	net.Conn

	// Set once.
	In  *bufio.Reader
	Out *bufio.Writer
	raw syscall.RawConn // nil where there is none

	since time.Time // when it became idle; set and read under the pool's mutex or by the request that has the connection
	sent  int       // bytes of this request that the kernel took; only the goroutine that writes touches it

	// Only the goroutine that reads touches these.
	left       int    // bytes that the header may still have; -1 is no bound
	beforeRead func() // is called before each read from the network; may be nil
}

// Dial connects to a replica. The error is a ConnectError, or the cause of the end of ctx.
func Dial(ctx context.Context, address string) (*Conn, error) {
	dialer := net.Dialer{Timeout: DialTimeout, KeepAliveConfig: keepalive}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &ConnectError{err}
	}
	c := &Conn{Conn: nc, left: -1}
	c.In, c.Out = bufio.NewReaderSize(c, bufferBytes), bufio.NewWriterSize(c, bufferBytes)
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // without it a dead connection is noticed when it is used
	}
	return c, nil
}

var errHeaderTooLarge = errors.New("the header of the response is too large")

// Begin prepares the connection for the next request. Nothing else uses it at that time.
func (c *Conn) Begin() {
	c.sent, c.beforeRead = 0, nil
	c.Out.Reset(c)
}

// Sent is how many bytes of this request the kernel has taken.
func (c *Conn) Sent() int { return c.sent }

// BoundHeader bounds what is read from now on to the size that a response's header may have; UnboundHeader ends that.
func (c *Conn) BoundHeader() { c.left = maxResponseHeader }

// UnboundHeader ends the bound.
func (c *Conn) UnboundHeader() { c.left = -1 }

// BeforeRead has f called before each read from the network, which may block; nil ends that.
func (c *Conn) BeforeRead(f func()) { c.beforeRead = f }

// Read reads from the network, as In does.
func (c *Conn) Read(p []byte) (int, error) {
	if c.beforeRead != nil {
		c.beforeRead()
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

// Write writes to the network, as Out does.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent += n
	return n, err
}

// Abort makes all reads and writes fail, now and later. Any goroutine may call it.
func (c *Conn) Abort() { _ = c.SetDeadline(time.Unix(1, 0)) } // it fails only where the connection is closed already
