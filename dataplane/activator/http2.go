package activator

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// newHTTP2 makes the transport for requests that came over h2c. It sends nothing twice that may have been received.
func newHTTP2() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &connectError{err}
			}
			return c, nil
		},
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        idleUpstream,
		MaxResponseHeaderBytes: maxResponseHeader,
		ExpectContinueTimeout:  continuePatience,
		// A connection whose replica has vanished without a word is found out in this time.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// sendHTTP2 sends the request over h2c and relays the response. A connectError says that it cannot have been received.
func (x *exchange) sendHTTP2() error {
	body := &untouched{ReadCloser: x.r.Body}
	res, err := x.activator.http2.RoundTrip(x.outgoing(body))
	if err != nil {
		if !unprocessed(err) {
			return err
		}
		if x.unsent(body.withdraw()) {
			return &connectError{err}
		}
		return errPassedBack
	}
	defer func() { _ = res.Body.Close() }() // it was read to its end, or its stream is to be reset
	if isUnsent(res.Header) && x.unsent(body.withdraw()) {
		return &connectError{errUnsent}
	}
	x.begin()
	var from io.Reader = res.Body
	if res.ContentLength < 0 {
		from = flushing{res.Body, x}
	}
	return x.relay(res, from)
}

// unprocessed is whether a replica, by its own word, has done nothing with a request and will not: it refused the stream, or was
// closing the connection when the request was on its way (RFC 9113, sections 5.1.2 and 6.8). The types of these errors cannot be named here.
func unprocessed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "REFUSED_STREAM") || strings.Contains(text, "graceful shutdown GOAWAY")
}

// outgoing makes the request that the replica gets.
func (x *exchange) outgoing(body *untouched) *http.Request {
	ctx := x.ctx
	if x.trial || x.cold {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { x.connected() }})
	}
	out := x.r.WithContext(ctx)
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
	out.Header[proxyHeader] = []string{proxyValue}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // or the transport would add its own
	}
	if x.r.ContentLength == 0 {
		out.Body = nil
	} else {
		out.Body = body
	}
	return out
}

// untouched is a request's body on its way to a replica. Transports close bodies on failure; this one stays open, so that
// another attempt can send it if nothing has been read.
type untouched struct {
	io.ReadCloser
	state atomic.Int32 // one of those below
}

const (
	bodyFresh = iota
	bodyRead
	bodyWithdrawn
)

var errWithdrawn = errors.New("the body is being sent to another replica")

func (b *untouched) Read(p []byte) (int, error) {
	if b.state.CompareAndSwap(bodyFresh, bodyRead); b.state.Load() == bodyWithdrawn {
		return 0, errWithdrawn
	}
	return b.ReadCloser.Read(p)
}

// withdraw takes the body back and reports whether nothing of it has been read, and nothing will be: a transport may come to
// read the body of a request that is answered already.
func (b *untouched) withdraw() bool {
	return b.state.CompareAndSwap(bodyFresh, bodyWithdrawn)
}

// Close leaves the body to the server, which closes it after the handler.
func (b *untouched) Close() error { return nil }

// flushing is a response's body of unknown length: what has come so far is sent before more is waited for.
type flushing struct {
	io.Reader
	x *exchange
}

func (f flushing) Read(p []byte) (int, error) {
	f.x.flush()
	return f.Reader.Read(p)
}
