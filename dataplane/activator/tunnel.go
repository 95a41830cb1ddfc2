package activator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// tunnel relays an upgraded connection until both sides have ended it.
func (x *exchange) tunnel(res *http.Response, c *conn, stop func() bool) error {
	if x.upgrade == "" || !strings.EqualFold(res.Header.Get("Upgrade"), x.upgrade) {
		return fmt.Errorf("the replica switched to %q, which was not asked for", res.Header.Get("Upgrade"))
	}
	if !stop() {
		return context.Cause(x.ctx)
	}
	x.begin()
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over the client's connection: %w", err)
	}
	x.status = http.StatusSwitchingProtocols
	closeBoth := func() {
		_ = client.Close() // whoever reads from it learns of it
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
	go func() { ended <- pipe(c.Conn, buffered) }()
	go func() { ended <- pipe(client, c.in) }()
	for range 2 {
		if err := <-ended; err != nil {
			break // the other direction has nobody to talk to
		}
	}
	return nil
}

// pipe copies one direction and passes on its end.
func pipe(to io.Writer, from io.Reader) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("no direction of this connection can be closed by itself")
}
