package queueproxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lastWords is how long requests that were cut off may take to be answered.
const lastWords = 500 * time.Millisecond

// Limits bound what a client may do before its request counts as one.
type Limits struct {
	// HeaderBytes is the size of a request's header, beyond which it gets 431; 0 means 64 KiB.
	HeaderBytes int
	// Headers is the number of header fields, beyond which it gets 431; 0 means 500.
	Headers int
	// ReadHeader is how long a client may take to send a header; 0 means 10 s.
	ReadHeader time.Duration
	// IdleConnection is how long a connection without requests is kept; 0 means 3 minutes, more than clients keep theirs.
	IdleConnection time.Duration
	// Streams is how many requests may share an HTTP/2 connection; 0 means 1000.
	Streams int
}

func (l Limits) withDefaults() Limits {
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Headers = cmp.Or(l.Headers, 500)
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.IdleConnection = cmp.Or(l.IdleConnection, 3*time.Minute)
	l.Streams = cmp.Or(l.Streams, 1000)
	return l
}

func (p *Proxy) newServer() *http.Server {
	base, cut := context.WithCancelCause(context.Background())
	p.cut = cut
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           p,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: p.opts.Limits.Streams},
		ReadHeaderTimeout: p.opts.Limits.ReadHeader,
		IdleTimeout:       p.opts.Limits.IdleConnection,
		MaxHeaderBytes:    p.opts.Limits.HeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          p.opts.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

// Serve serves HTTP/1.1 and h2c on l until Shutdown or Close, and then returns nil at once, while requests may still
// be in flight. It closes l.
func (p *Proxy) Serve(l net.Listener) error {
	if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown drains the proxy and ends it. From now on probes say that it is shutting down, so that it gets fewer
// requests, but it serves all that come until there has been none in flight and none new for the quiet period. When
// ctx ends before, the requests in flight (upgraded connections too) are cut off and the context's cause is returned.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.draining.Store(true)
	err := p.awaitQuiet(ctx)
	if err == nil {
		err = p.server.Shutdown(ctx)
	}
	if err != nil {
		// What is left gets its answer, or its connection closed, and a moment for that to be sent.
		p.cut(errShuttingDown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		_ = p.server.Shutdown(last) // the error to return is the first one
	}
	p.Close()
	return err
}

// Close ends the proxy and the requests in flight at once.
func (p *Proxy) Close() {
	p.draining.Store(true)
	p.cut(errShuttingDown)
	_ = p.server.Close() // only says that a listener was closed already
}

// awaitQuiet returns nil after the quiet period, or the cause of the context's end.
func (p *Proxy) awaitQuiet(ctx context.Context) error {
	const poll = 20 * time.Millisecond // while requests are in flight
	began := time.Now()
	for {
		wait := poll
		if since, quiet := p.meter.quietSince(); quiet {
			if since.Before(began) {
				since = began
			}
			if wait = p.opts.Quiet - time.Since(since); wait <= 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
