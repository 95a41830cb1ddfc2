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

// clientBody is a request's body as the client sends it. The clock looks on.
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

// Close does nothing: what is left is for endRequest, and nobody else waits for it.
func (b *clientBody) Close() error { return nil }

// takeBody begins to keep what is read of a request's body, so that another attempt can begin anew.
func (x *exchange) takeBody(req *http.Request, t *http.Transport) {
	if len(req.Trailer) > 0 { // the server fills in those of the client whenever the end of the body is read
		x.trailers = slices.Collect(maps.Keys(req.Trailer))
	}
	x.fill(req, t, x.request.Begin(&x.source, x.proxy.buffers))
}

// fill gives a request its body from the beginning. The transport for HTTP/1.1 is shown how to do the same: it finds out by
// itself that a connection was closed before anything was written to it. That for HTTP/2 would wait between attempts.
func (x *exchange) fill(req *http.Request, t *http.Transport, body *replay.Reader) {
	switch {
	case t == x.proxy.upstreams.http1 && req.ContentLength < 0:
		all := trailing{body, x, http.Header{}}
		for _, name := range x.trailers {
			all.to[name] = nil
		}
		req.Body, req.Trailer = all, all.to
		req.GetBody = func() (io.ReadCloser, error) {
			again, err := x.rewind()
			return trailing{again, x, all.to}, err
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

// trailing is a chunked body of which all trailers pass, also those that the client did not announce. The transport for HTTP/2 takes
// none but those.
type trailing struct {
	io.ReadCloser
	x  *exchange
	to http.Header
}

// Read fills in the trailers at the end.
func (b trailing) Read(p []byte) (int, error) {
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

// endRequest reads what is left of a body after its answer, or has the connection end. A client that has its whole answer is given
// some time; the end of one without a length is still to come, and does not wait for that.
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

// uploadGrace is how long the end of a request is waited for after its response is complete.
const uploadGrace = 50 * time.Millisecond

// endUpload ends what the client still sends after the response is complete: the transport for HTTP/2 would wait for it.
func (x *exchange) endUpload() {
	switch {
	case x.source.x == nil:
	case x.view.ProtoMajor == 2:
		_ = x.view.Body.Close() // it never fails
	case x.request.Waiting():
		// Where it cannot be given a deadline the client is waited for.
		_ = http.NewResponseController(x.writer).SetReadDeadline(time.Now().Add(uploadGrace))
	}
}
