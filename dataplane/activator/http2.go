package activator

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/model"
)

// newHTTP2 makes the transport for requests that came over h2c. It sends nothing twice that may have been received. If it is to ask, it
// finds out a queue-proxy that hangs; a gRPC server ends connections on which it is asked more often than it likes.
func newHTTP2(ask bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepalive}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &connectError{err}
			}
			return c, nil
		},
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        model.IdleClient,
		MaxResponseHeaderBytes: maxResponseHeader,
		// A body that is to be asked for waits in intake.Body, and so the transport need not wait.
		ExpectContinueTimeout: 0,
	}
	if ask {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: model.PingInterval, PingTimeout: model.PingTimeout}
	}
	return t
}

// sendHTTP2 sends the request over h2c and relays the response. A connectError says that it cannot have been received.
func (x *exchange) sendHTTP2() error {
	transport := x.activator.http2
	if x.direct {
		transport = x.activator.direct
	}
	res, err := transport.RoundTrip(x.outgoing()) //nolint:bodyclose // it is closed in each of the two ways
	x.interim.set(true)
	switch {
	case err != nil && !replay.Unprocessed(err):
		return err
	case err != nil && x.again():
		return &connectError{err}
	case err != nil:
		return errPassedBack
	case isUnsent(res.Header) && x.again():
		go func() { _ = res.Body.Close() }() // it waits for the sending of the body to end
		return &connectError{errUnsent}
	}
	defer func() {
		// What the client still sends is of no use, and to close the response would wait for it.
		x.intake.Stop()
		_ = res.Body.Close() // it was read to its end, or its stream is to be reset
	}()
	x.begin()
	var from io.Reader = res.Body
	if res.ContentLength < 0 {
		from = flushing{res.Body, x}
	}
	return x.relay(res, from)
}

// outgoing makes the request that the replica gets.
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
	u.Scheme, u.Host = "http", x.replica.address
	out.URL, out.RequestURI, out.Close = &u, "", false
	out.Header = maps.Clone(x.r.Header)
	for name := range x.r.Header {
		if staysHere(name) {
			delete(out.Header, name)
		}
	}
	if hasToken(x.r.Header["Te"], "trailers") {
		out.Header["Te"] = []string{"trailers"}
	}
	if !x.direct { // an application is not to learn the proof
		out.Header[contract.ProxyHeader] = []string{x.activator.proof()}
	}
	out.Header[contract.NamespaceHeader], out.Header[contract.RevisionHeader] = []string{x.revision.name.namespace}, []string{x.revision.name.name}
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

// attemptBody is a request's body as one attempt sends it. The transport closes it when it gives the attempt up, but then waits for the
// Read in progress, and so for a client that may have stopped to send. It does not wait when the attempt's context has ended.
type attemptBody struct {
	io.ReadCloser
	cancel   context.CancelFunc
	reading  atomic.Bool
	closed   atomic.Bool
	answered atomic.Bool // a response has begun: the transport closes the body then too
}

// reopen is called when there is a connection: the transport takes another one, with the same body, where it finds one closed.
func (b *attemptBody) reopen() {
	if b != nil {
		b.closed.Store(false)
	}
}

// Read reads what the client sends, and nothing after Close.
func (b *attemptBody) Read(p []byte) (int, error) {
	b.reading.Store(true) // before closed is looked at: either Close sees the Read, or this sees that it was closed
	defer b.reading.Store(false)
	if b.closed.Load() {
		return 0, replay.ErrSuperseded
	}
	return b.ReadCloser.Read(p)
}

// Close ends the attempt a little later: were the end of its context seen first, the transport would not say why it gave it up.
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

// flushing is a response's body of unknown length: what has come so far is sent before more is waited for.
type flushing struct {
	io.Reader
	x *exchange
}

func (f flushing) Read(p []byte) (int, error) {
	f.x.flush()
	return f.Reader.Read(p)
}
