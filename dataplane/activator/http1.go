package activator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/upstream"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/replay"
)

// This is an HTTP/1.1 client that runs in the goroutine of the request. There are two reasons not to use net/http's transport. It repeats a
// GET whose connection broke although the replica may have received it. And its two goroutines for each connection cost about as much as
// all the rest.

// sendHTTP1 sends the request over HTTP/1.1 and relays the response. A ConnectError says that the replica cannot have received it.
func (x *exchange) sendHTTP1() error {
	for {
		c := x.Replica().Pool.Get()
		reused := c != nil
		if c == nil {
			var err error
			if c, err = upstream.Dial(x.ctx, x.Replica().Address); err != nil {
				return err
			}
		}
		x.connected()
		stop := context.AfterFunc(x.ctx, c.Abort)
		if err := x.writeHead(c); err != nil {
			stop()
			_ = c.Close() // it is broken
			switch {
			case c.Sent() > 0 || x.ctx.Err() != nil:
				return fmt.Errorf("sending the request: %w", err)
			case !reused:
				return upstream.NewConnectError(err)
			}
			continue // the replica had closed it; so may be the next one of the pool
		}
		reusable, err := x.converse(c, stop)
		if stop() && reusable && err == nil {
			x.Replica().Pool.Put(c)
		} else {
			_ = c.Close() // it cannot be used again
		}
		return err
	}
}

// writeHead sends the request's header.
func (x *exchange) writeHead(c *upstream.Conn) error {
	r, out := x.r, c.Out
	c.Begin()
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") && uri != "*" {
		uri = r.URL.RequestURI()
	}
	// An error stays in the bufio.Writer until Flush returns it.
	writeAll(out, r.Method, " ", uri, " HTTP/1.1\r\nHost: ", r.Host, "\r\n")
	if !x.Direct() { // an application must not get the proof
		writeAll(out, contract.ProxyHeader+": ", x.activator.proof(x.revision), "\r\n")
	}
	if x.Task() {
		writeAll(out, contract.SlotHeader+": ", x.slot(), "\r\n")
	}
	name := x.revision.name
	writeAll(out, contract.NamespaceHeader+": ", name.namespace, "\r\n"+contract.RevisionHeader+": ", name.name, "\r\n")
	named := r.Header["Connection"]
	for name, values := range r.Header {
		if notForwarded(name) || len(named) > 0 && hasToken(named, name) {
			continue
		}
		for _, v := range values {
			writeAll(out, name, ": ", v, "\r\n")
		}
	}
	if hasToken(r.Header["Te"], "trailers") {
		writeAll(out, "Te: trailers\r\n")
	}
	if x.upgrade != "" {
		writeAll(out, "Connection: Upgrade\r\nUpgrade: ", x.upgrade, "\r\n")
	}
	x.writeFraming(out)
	writeAll(out, "\r\n")
	return out.Flush()
}

// writeFraming writes how long the body is.
func (x *exchange) writeFraming(out *bufio.Writer) {
	switch r := x.r; {
	case r.ContentLength > 0 || r.ContentLength == 0 && r.Header["Content-Length"] != nil:
		writeAll(out, "Content-Length: ", strconv.FormatInt(r.ContentLength, 10), "\r\n")
	case r.ContentLength < 0:
		writeAll(out, "Transfer-Encoding: chunked\r\n")
		if len(x.trailers) > 0 {
			writeAll(out, "Trailer: ", strings.Join(x.trailers, ", "), "\r\n")
		}
	}
}

func writeAll(out *bufio.Writer, parts ...string) {
	for _, s := range parts {
		_, _ = out.WriteString(s) // Flush returns the error
	}
}

// notForwarded reports whether a request header is hop-by-hop, for activators alone, or written anew for the replica.
func notForwarded(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Http2-Settings",
		"Proxy-Authorization", "Content-Length", contract.RevisionHeader, contract.NamespaceHeader, contract.TimingHeader:
		return true
	}
	return slices.Contains(contract.InternalHeaders, name)
}

// converse sends the body, if there is one, and relays the response. It reports whether the connection can be used again.
func (x *exchange) converse(c *upstream.Conn, stop func() bool) (reusable bool, err error) {
	u := x.startUpload(c)
	res, err := x.readResponse(c) //nolint:bodyclose // closing would read to the end; the connection is closed instead
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		x.finishUpload(c, u)
		return false, x.tunnel(res, c, stop)
	}
	if err != nil {
		err = fmt.Errorf("reading the response: %w", err)
		if u.failed() {
			err = errBadBody
		}
	} else {
		if isUnsent(res.Header) && x.rewind() {
			return false, upstream.NewConnectError(errUnsent) // an upload that still goes on ends by itself
		}
		x.begin()
		c.BeforeRead(x.flush)
		err = x.relay(res, res.Body)
		c.BeforeRead(nil)
	}
	if u == nil {
		return err == nil && !res.Close, err
	}
	if err != nil {
		c.Abort()
	}
	complete := x.finishUpload(c, u)
	return err == nil && complete && !res.Close, err
}

// readResponse reads the header of the final response, and relays the informational ones before it.
func (x *exchange) readResponse(c *upstream.Conn) (*http.Response, error) {
	for {
		c.BoundHeader()
		res, err := http.ReadResponse(c.In, x.r)
		c.UnboundHeader()
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
		if err := x.inform(res.StatusCode, res.Header); err != nil {
			return nil, err
		}
	}
}

// writeBody sends the request's body as it arrives.
func (x *exchange) writeBody(c *upstream.Conn, u *upload) error {
	buffer := x.activator.buffers.Get()
	defer x.activator.buffers.Put(buffer)
	var out io.Writer = c.Out
	if x.r.ContentLength < 0 {
		chunked := httputil.NewChunkedWriter(c.Out)
		out = chunked
	}
	for {
		n, err := u.body.Read(buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return err
			}
			if err := c.Out.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			u.clientFailed.Store(!errors.Is(err, replay.ErrSuperseded) && !errors.Is(err, intake.ErrStopped))
			return err
		}
	}
	if chunked, ok := out.(io.Closer); ok {
		if err := chunked.Close(); err != nil {
			return err
		}
		if err := x.r.Trailer.Write(c.Out); err != nil {
			return err
		}
		writeAll(c.Out, "\r\n")
	}
	return c.Out.Flush()
}

// failed says that the client has failed to send the body; u is nil for a request without one.
func (u *upload) failed() bool { return u != nil && u.clientFailed.Load() }

// uploadGrace is how long an upload may go on after the response is complete.
const uploadGrace = 50 * time.Millisecond

// finishUpload waits for the end of the upload, and ends one that goes on after the response. It reports whether the whole body was sent.
func (x *exchange) finishUpload(c *upstream.Conn, u *upload) (complete bool) {
	if u == nil {
		return true
	}
	if !x.intake.Refused() {
		timer := time.NewTimer(uploadGrace)
		defer timer.Stop()
		select {
		case <-u.done:
			return u.err == nil
		case <-timer.C:
		case <-x.ctx.Done():
		}
	}
	// The upload may block in a write to the replica or in a read from the client. A read without a deadline ends with the client's
	// connection.
	c.Abort()
	x.intake.Stop()
	<-u.done
	return false
}
