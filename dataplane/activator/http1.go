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
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/replay"
)

// This is an HTTP/1.1 client that works in the goroutine of the request. net/http's transport is not used for two reasons: it
// sends a GET again whose connection died while it may have been received, and its two goroutines for each connection cost
// about as much as all the rest.

// sendHTTP1 sends the request over HTTP/1.1 and relays the response. A connectError says that it cannot have been received.
func (x *exchange) sendHTTP1() error {
	for {
		c := x.replica.pool.get()
		reused := c != nil
		if c == nil {
			var err error
			if c, err = dial(x.ctx, x.replica.address); err != nil {
				return err
			}
		}
		x.connected()
		stop := context.AfterFunc(x.ctx, c.abort)
		if err := x.writeHead(c); err != nil {
			stop()
			_ = c.Close() // it is broken
			switch {
			case c.sent > 0 || x.ctx.Err() != nil:
				return fmt.Errorf("sending the request: %w", err)
			case !reused:
				return &connectError{err}
			}
			continue // the replica had closed it; others of its kind are found out in the same way
		}
		reusable, err := x.converse(c, stop)
		if stop() && reusable && err == nil {
			x.replica.pool.put(c)
		} else {
			_ = c.Close() // it is in no state to be used again
		}
		return err
	}
}

// writeHead sends the request's header.
func (x *exchange) writeHead(c *conn) error {
	r, out := x.r, c.out
	c.sent, c.flush = 0, nil
	out.Reset(c)
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") && uri != "*" {
		uri = r.URL.RequestURI()
	}
	// An error stays in the bufio.Writer until Flush returns it.
	writeAll(out, r.Method, " ", uri, " HTTP/1.1\r\nHost: ", r.Host, "\r\n")
	if !x.direct { // an application is not to learn the proof
		writeAll(out, contract.ProxyHeader+": ", x.activator.proof(), "\r\n")
	}
	meant := x.revision.name
	writeAll(out, contract.NamespaceHeader+": ", meant.namespace, "\r\n"+contract.RevisionHeader+": ", meant.name, "\r\n")
	named := r.Header["Connection"]
	for name, values := range r.Header {
		if staysHere(name) || len(named) > 0 && hasToken(named, name) {
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

// writeFraming says how long the body is.
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

// staysHere tells which request headers are between two neighbours, or for activators, or made anew for the replica.
func staysHere(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Http2-Settings",
		"Proxy-Authorization", "Content-Length", contract.RevisionHeader, contract.NamespaceHeader, contract.TimingHeader:
		return true
	}
	return slices.Contains(contract.InternalHeaders, name)
}

// converse sends the body, if there is one, and relays the response. It tells whether the connection can be used again.
func (x *exchange) converse(c *conn, stop func() bool) (reusable bool, err error) {
	u := x.startUpload(c)
	res, err := x.readResponse(c) //nolint:bodyclose // closing would read on to the end; what was not read is closed with the connection
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		x.finishUpload(c, u)
		return false, x.tunnel(res, c, stop)
	}
	if err != nil {
		err = fmt.Errorf("reading the response: %w", err)
		if u != nil && u.clientFailed.Load() {
			err = errBadBody
		}
	} else {
		if isUnsent(res.Header) && x.again() {
			return false, &connectError{errUnsent} // an upload that still goes on ends by itself
		}
		x.begin()
		c.flush = x.flush
		err = x.relay(res, res.Body)
		c.flush = nil
	}
	if u == nil {
		return err == nil && !res.Close, err
	}
	if err != nil {
		c.abort()
	}
	complete := x.finishUpload(c, u)
	return err == nil && complete && !res.Close, err
}

// readResponse reads the header of the final response, and passes on the informational ones before it.
func (x *exchange) readResponse(c *conn) (*http.Response, error) {
	for {
		c.left = maxResponseHeader
		res, err := http.ReadResponse(c.in, x.r)
		c.left = -1
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
		if err := x.inform(res.StatusCode, res.Header); err != nil {
			return nil, err
		}
	}
}

// writeBody sends the request's body as it comes.
func (x *exchange) writeBody(c *conn, u *upload) error {
	buffer := x.activator.buffers.Get()
	defer x.activator.buffers.Put(buffer)
	var out io.Writer = c.out
	if x.r.ContentLength < 0 {
		chunked := httputil.NewChunkedWriter(c.out)
		out = chunked
	}
	for {
		n, err := u.body.Read(buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return err
			}
			if err := c.out.Flush(); err != nil {
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
	if chunked, ok := out.(io.Closer); ok && x.r.ContentLength < 0 {
		if err := chunked.Close(); err != nil {
			return err
		}
		if err := x.r.Trailer.Write(c.out); err != nil {
			return err
		}
		writeAll(c.out, "\r\n")
	}
	return c.out.Flush()
}

// uploadGrace is how long the end of an upload is waited for after the response is complete.
const uploadGrace = 50 * time.Millisecond

// finishUpload waits for the end of the upload and tells whether all of the body was sent. What is still going on after the
// response is ended.
func (x *exchange) finishUpload(c *conn, u *upload) (complete bool) {
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
	// The upload may hang in a write to the replica or in a read from the client. Where the latter cannot be given a
	// deadline it does not outlive the client's connection.
	c.abort()
	x.intake.Stop()
	<-u.done
	return false
}
