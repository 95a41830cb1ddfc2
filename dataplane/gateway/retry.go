package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// retryPolicy says after which failures a request is sent again, to another endpoint. All of them happen before the
// upstream has seen anything of the request, so that nothing is done twice.
type retryPolicy struct {
	attempts                                  int // after the first one; 0 is no retry
	connectFailure, refusedStream, idleClosed bool
}

func compileRetry(m *routev3.RetryPolicy) (retryPolicy, error) {
	var p retryPolicy
	if m == nil {
		return p, nil
	}
	p.attempts = 1
	if m.GetNumRetries() != nil {
		p.attempts = int(m.GetNumRetries().GetValue())
	}
	for _, on := range strings.Split(m.GetRetryOn(), ",") {
		switch strings.TrimSpace(on) {
		case "connect-failure":
			p.connectFailure = true
		case "refused-stream":
			p.refusedStream = true
		case "reset-before-request":
			p.idleClosed = true
		case "":
		default:
			return p, at("retry_on", fmt.Errorf("%q is %w; connect-failure, refused-stream and reset-before-request are",
				strings.TrimSpace(on), errUnsupported))
		}
	}
	return p, nil
}

// connectError is a failure to connect to an endpoint: nothing has been sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// allows tells whether a failed attempt may be repeated. The errors of net/http's transport for the other two have no
// types of their own that could be named here.
func (p *retryPolicy) allows(err error) bool {
	var connect *connectError
	switch {
	case errors.As(err, &connect):
		return p.connectFailure
	case p.refusedStream && strings.Contains(err.Error(), "REFUSED_STREAM"):
		return true
	}
	return p.idleClosed && strings.Contains(err.Error(), "server closed idle connection")
}

// requestBody is a request's body on its way upstream. Transports close bodies on failure; this one stays open so that
// another attempt can send it, provided that nothing has been read.
type requestBody struct {
	io.Reader
	x    *exchange
	from *http.Request
	to   http.Header // trailers of the outgoing request
	read atomic.Bool
	// failed is set when the client did not deliver the body.
	failed atomic.Bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	n, err := b.Reader.Read(p)
	b.x.clock.touch()
	switch {
	case err == io.EOF:
		for key, values := range b.from.Trailer {
			b.to[key] = values
		}
		b.x.clock.requestDone()
	case err != nil:
		b.failed.Store(true)
	}
	return n, err
}

func (b *requestBody) Close() error { return nil }
