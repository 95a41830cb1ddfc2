package activator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/activator/upstream"
)

// tunnel relays an upgraded connection until both sides have ended it.
func (x *exchange) tunnel(res *http.Response, c *upstream.Conn, stop func() bool) error {
	if x.upgrade == "" || !strings.EqualFold(res.Header.Get("Upgrade"), x.upgrade) {
		return fmt.Errorf("the replica switched to %q, which was not asked for", res.Header.Get("Upgrade"))
	}
	if !stop() {
		return context.Cause(x.ctx)
	}
	x.begin()
	x.endTimeout() // after 101 one of the two sides ends the connection, or the queue-proxy
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over the client's connection: %w", err)
	}
	x.status = http.StatusSwitchingProtocols
	closeBoth := func() {
		_ = client.Close() // which ends the reads from it
		_ = c.Close()      // likewise
	}
	defer closeBoth()
	defer context.AfterFunc(x.ctx, closeBoth)()
	for name, values := range x.w.Header() {
		res.Header[name] = append(res.Header[name], values...)
	}
	res.Body = nil
	if err := res.Write(buffered); err != nil {
		return nil // the client has gone
	}
	if err := buffered.Flush(); err != nil {
		return nil // the client has gone
	}
	ended := make(chan error, 2)
	t := &tunnel{Conn: client, ahead: buffered.Reader, timeout: x.Timeout()}
	go func() { ended <- pipe(c.Conn, t) }()
	go func() { ended <- pipe(t, c.In) }()
	for range 2 {
		if err := <-ended; err != nil {
			break // nobody reads the other direction
		}
	}
	return nil
}

// tunnel is the client's side of an upgraded connection. It fails when the client neither reads nor sends anything for the revision's
// timeout although there is something to read: such a client would hold a slot for ever.
type tunnel struct {
	net.Conn
	ahead   *bufio.Reader // has what the client sent before the answer
	timeout time.Duration // 0 is no bound
	active  atomic.Bool   // the client has sent something
}

// Read reads what the client sends. It uses the server's reader only for what that has buffered: at the end of that direction, the reader
// would end the request.
func (t *tunnel) Read(p []byte) (int, error) {
	var from io.Reader = t.Conn
	if t.ahead.Buffered() > 0 {
		from = t.ahead
	}
	n, err := from.Read(p)
	t.active.Store(true)
	return n, err
}

// Write writes to the client.
func (t *tunnel) Write(p []byte) (written int, err error) {
	for t.timeout > 0 {
		t.active.Store(false)
		if err := t.SetWriteDeadline(time.Now().Add(t.timeout)); err != nil {
			return written, err
		}
		n, err := t.Conn.Write(p[written:])
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 && !t.active.Load() {
			return written, err
		}
	}
	return t.Conn.Write(p)
}

// CloseWrite closes the direction to the client.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// pipe copies one direction and relays its end.
func pipe(to io.Writer, from io.Reader) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("no direction of this connection can be closed by itself")
}
