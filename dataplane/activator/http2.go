package activator

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/upstream"
	"sluice.dev/sluice/dataplane/replay"
)

// sendHTTP2 sends the request over h2c and relays the response. A ConnectError says that the replica cannot have received it.
func (x *exchange) sendHTTP2() error {
	transport := x.activator.http2
	if x.Direct() {
		transport = x.activator.direct
	}
	res, err := transport.RoundTrip(x.outgoing()) //nolint:bodyclose // it is closed in each of the two ways
	x.interim.set(true)
	switch {
	case err != nil && !replay.Unprocessed(err):
		return err
	case err != nil && x.rewind():
		return upstream.NewConnectError(err)
	case err != nil:
		return errPassedBack
	case isUnsent(res.Header) && x.rewind():
		go func() { _ = res.Body.Close() }() // it waits for the sending of the body to end
		return upstream.NewConnectError(errUnsent)
	}
	defer func() {
		// Closing the response would wait for what the client still sends.
		x.intake.Stop()
		_ = res.Body.Close() // it was read to its end, or its stream is reset
	}()
	x.begin()
	var from io.Reader = res.Body
	if res.ContentLength < 0 {
		from = flushing{res.Body, x}
	}
	return x.relay(res, from)
}

// outgoing returns the request for the replica.
func (x *exchange) outgoing() *http.Request {
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		return x.inform(status, http.Header(header))
	}}
	x.interim.set(false)
	ctx := x.ctx
	var body *attemptBody
	trace.GotConn = func(httptrace.GotConnInfo) {
		x.connected()
		body.reopen()
	}
	if x.sending != nil {
		body = &attemptBody{ReadCloser: x.sending}
		ctx, body.cancel = context.WithCancel(ctx) // the end of the exchange ends it
		trace.GotFirstResponseByte = func() { body.answered.Store(true) }
	}
	out := x.r.WithContext(httptrace.WithClientTrace(ctx, trace))
	u := *x.r.URL
	u.Scheme, u.Host = "http", x.Replica().Address
	out.URL, out.RequestURI, out.Close = &u, "", false
	out.Header = maps.Clone(x.r.Header)
	for name := range x.r.Header {
		if notForwarded(name) {
			delete(out.Header, name)
		}
	}
	if hasToken(x.r.Header["Te"], "trailers") {
		out.Header["Te"] = []string{"trailers"}
	}
	if !x.Direct() { // an application must not get the proof
		out.Header[contract.ProxyHeader] = []string{x.activator.proof(x.revision)}
	}
	if x.Task() {
		out.Header[contract.SlotHeader] = []string{x.slot()}
	}
	out.Header[contract.NamespaceHeader] = []string{x.revision.name.namespace}
	out.Header[contract.RevisionHeader] = []string{x.revision.name.name}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // or the transport would add its own
	}
	out.Body, out.Trailer = nil, nil
	if body != nil {
		out.Body = body
	}
	if len(x.trailers) > 0 {
		body.ReadCloser, out.Trailer = x.sending.Trailers(x.trailers, x.r.Trailer)
	}
	return out
}

// attemptBody is the body of one attempt. The transport closes it when it gives up the attempt, but then waits for the Read in progress,
// and so for a client that may have stalled. It does not wait when the attempt's context has ended.
type attemptBody struct {
	io.ReadCloser
	cancel   context.CancelFunc
	reading  atomic.Bool
	closed   atomic.Bool
	answered atomic.Bool // a response has begun: the transport closes the body then too
}

// reopen is called when there is a connection: if that one is closed, the transport takes another one with the same body.
func (b *attemptBody) reopen() {
	if b != nil {
		b.closed.Store(false)
	}
}

// Read reads what the client sends, and nothing after Close.
func (b *attemptBody) Read(p []byte) (int, error) {
	b.reading.Store(true) // before it loads closed: either Close sees the Read, or the Read sees the Close
	defer b.reading.Store(false)
	if b.closed.Load() {
		return 0, replay.ErrSuperseded
	}
	return b.ReadCloser.Read(p)
}

// Close ends the attempt after uploadGrace: if its context ended first, the transport would not report why it gave up.
func (b *attemptBody) Close() error {
	b.closed.Store(true)
	if b.reading.Load() && !b.answered.Load() {
		time.AfterFunc(uploadGrace, func() {
			if !b.answered.Load() {
				b.cancel()
			}
		})
	}
	return nil
}

// flushing is a response's body of unknown length: it flushes what has arrived before it waits for more.
type flushing struct {
	io.Reader
	x *exchange
}

func (f flushing) Read(p []byte) (int, error) {
	f.x.flush()
	return f.Reader.Read(p)
}
