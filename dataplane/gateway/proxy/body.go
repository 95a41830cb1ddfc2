package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/replay"
)

// clientBody is a request's body as the client sends it. Each read resets the idle limit of the clock.
type clientBody struct {
	io.Reader
	x     *exchange // nil for a request without a body
	ended atomic.Bool
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.x.clock.touch()
	if err == io.EOF {
		b.ended.Store(true)
		b.x.clock.requestDone()
	}
	return n, err
}

// Close does nothing: endRequest reads the rest of the body.
func (b *clientBody) Close() error { return nil }

// keepBody begins to keep what is read of a request's body, so that a retry can send it again.
func (x *exchange) keepBody(req *http.Request, t *http.Transport) {
	if len(req.Trailer) > 0 { // the server fills in those of the client whenever the end of the body is read
		x.trailers = slices.Collect(maps.Keys(req.Trailer))
	}
	x.setBody(req, t, x.request.Begin(&x.source, x.proxy.buffers))
}

// setBody gives a request its body from the beginning. The transport for HTTP/1.1 gets GetBody too, since it retries by itself when a
// connection was closed before anything was written to it. The transport for HTTP/2 would wait between attempts, and gets none.
func (x *exchange) setBody(req *http.Request, t *http.Transport, body *replay.Reader) {
	switch {
	case t == x.proxy.upstreams.http1 && req.ContentLength < 0:
		all := trailerBody{body, x, http.Header{}}
		for _, name := range x.trailers {
			all.to[name] = nil
		}
		req.Body, req.Trailer = all, all.to
		req.GetBody = func() (io.ReadCloser, error) {
			again, err := x.rewind()
			return trailerBody{again, x, all.to}, err
		}
	case len(x.trailers) > 0:
		req.Body, req.Trailer = body.Trailers(x.trailers, x.view.Trailer)
	case t == x.proxy.upstreams.http1:
		req.GetBody = x.rewind
		req.Body = body
	default:
		req.Body = body
	}
}

// trailerBody is a chunked body that passes on all trailers, announced or not. The transport for HTTP/2 sends only those that were
// announced.
type trailerBody struct {
	io.ReadCloser
	x  *exchange
	to http.Header
}

// Read fills in the trailers at the end.
func (b trailerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		for name, values := range b.x.view.Trailer {
			if httpguts.ValidTrailerHeader(name) {
				b.to[name] = values
			}
		}
	}
	return n, err
}

func (x *exchange) rewind() (io.ReadCloser, error) {
	if r, ok := x.request.Rewind(); ok {
		return r, nil
	}
	return nil, errSentInPart
}

var errSentInPart = errors.New("the body has been sent in part")

// endRequest reads the rest of a body after its response, or ends the connection. It waits for a client that has its whole response. A
// response without a length ends when this handler returns, so then it does not wait.
func (x *exchange) endRequest() {
	if x.source.ended.Load() || x.status == http.StatusSwitchingProtocols {
		return
	}
	wait := time.Duration(0)
	if len(x.writer.Header()["Content-Length"]) > 0 && len(x.view.Header["Expect"]) == 0 {
		wait = framing.RestWait
		_ = http.NewResponseController(x.writer).Flush() // the client may be gone
	}
	x.conn.Finish(x.view.Body, wait)
	if x.client.Err() != nil { // net/http has given the connection up, and would serve no other request
		x.conn.End()
	}
}

// uploadGrace is how long the proxy waits for the end of a request after its response is complete.
const uploadGrace = 50 * time.Millisecond

// endUpload ends the request after its response is complete: the transport for HTTP/2 would wait for the rest of its body.
func (x *exchange) endUpload() {
	switch {
	case x.source.x == nil:
	case x.view.ProtoMajor == 2:
		_ = x.view.Body.Close() // it never fails
	case x.request.Waiting():
		// Where this fails, the transport waits for the client.
		_ = http.NewResponseController(x.writer).SetReadDeadline(time.Now().Add(uploadGrace))
	}
}
