package queueproxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/peer"
	"sluice.dev/sluice/model"
)

// inFlightPoll is how often a drain checks whether the requests in flight have ended.
const inFlightPoll = 20 * time.Millisecond

// answerWait is how long the answers of requests that were cut off may take.
const answerWait = 500 * time.Millisecond

// Limits bound what a client may do before its request counts as one.
type Limits struct {
	// HeaderBytes is the size of a request's header, beyond which it gets 431; 0 means 64 KiB.
	HeaderBytes int
	// Headers is the number of header fields, beyond which it gets 431; 0 means 500.
	Headers int
	// ReadHeader is how long a client may take to send a header; 0 means 10 s.
	ReadHeader time.Duration
	// IdleConnection is how long a connection without requests is kept; 0 means model.IdleServer, 3 minutes.
	IdleConnection time.Duration
	// Streams is how many requests may share an HTTP/2 connection; 0 means 1000.
	Streams int
}

func (l Limits) withDefaults() Limits {
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Headers = cmp.Or(l.Headers, 500)
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.IdleConnection = cmp.Or(l.IdleConnection, model.IdleServer)
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
		ConnContext:       rememberConn,
		ConnState:         framing.ConnState,
		// OPTIONS * is for the application too.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     p.opts.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

func rememberConn(ctx context.Context, c net.Conn) context.Context {
	return peer.Remember(framing.ConnContext(ctx, c), c)
}

// Serve serves HTTP/1.1 and h2c on l until Shutdown or Close, and then returns nil at once, while requests may still
// be in flight. It closes l.
func (p *Proxy) Serve(l net.Listener) error {
	if err := p.server.Serve(framing.Listener{Listener: l}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Draining reports whether a drain has begun.
func (p *Proxy) Draining() bool { return p.drainBegan.Load() != nil }

// Drain makes readiness probes fail, so that fewer requests arrive, and serves all that do. It returns nil when no request was in flight
// and none arrived for the quiet period, which starts with the drain at the earliest, or the cause of the context's end. The drain goes on
// until Resume or Shutdown.
func (p *Proxy) Drain(ctx context.Context) error {
	now := time.Now()
	p.drainBegan.CompareAndSwap(nil, &now)
	return p.awaitQuiet(ctx)
}

// Abandon says that the application will not return. Requests that wait or still arrive are answered with contract.ReasonUnsent, so that
// their senders may send them elsewhere. Shutdown must follow.
func (p *Proxy) Abandon() {
	now := time.Now()
	p.drainBegan.CompareAndSwap(nil, &now)
	p.breaker.Close(errUnsent)
}

// Retire drains the proxy (see Drain), and then answers the requests that still arrive as after Abandon. Clients may learn of the end of
// the replica after the drain, and closed connections would lose the requests that are on their way. Retire returns nil when the
// application has no request and will get none, and so may end. Shutdown must follow when no requests arrive any more. When ctx ends
// before, Retire does what Shutdown does.
func (p *Proxy) Retire(ctx context.Context) error {
	err := p.Drain(ctx)
	if err == nil {
		p.Abandon()
		err = p.awaitIdle(ctx)
	}
	if err != nil {
		return cmp.Or(p.Shutdown(ctx), err)
	}
	return nil
}

// awaitIdle returns nil when the application has no request, or the cause of the context's end.
func (p *Proxy) awaitIdle(ctx context.Context) error {
	for {
		if running, _ := p.breaker.Counts(); running == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(inFlightPoll):
		}
	}
}

// Resume ends a drain. It must not be called after Shutdown.
func (p *Proxy) Resume() { p.drainBegan.Store(nil) }

// Shutdown drains the proxy (see Drain) and ends it. After StreamDrain, or at the deadline of EndStreamsAt if that is sooner, it cuts the
// streams that are left: it closes upgraded connections and ends gRPC streams with UNAVAILABLE. When ctx ends before the drain, it cuts all
// that is in flight and returns the context's cause.
func (p *Proxy) Shutdown(ctx context.Context) error {
	if streams := p.streamDrain(); streams > 0 {
		timer := time.AfterFunc(streams, func() { p.streams.cut(true) })
		defer timer.Stop()
	}
	err := p.Drain(ctx)
	if err == nil {
		err = p.server.Shutdown(ctx)
	}
	if err != nil {
		// What is left gets its answer, or its connection is closed.
		p.cut(errShuttingDown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWait)
		defer cancel()
		_ = p.server.Shutdown(last) // the error to return is the first one
	}
	p.Close()
	return err
}

// CutStreams cuts the streams in flight, as Shutdown does after StreamDrain.
func (p *Proxy) CutStreams() { p.streams.cut(false) }

// Close ends the proxy and the requests in flight at once.
func (p *Proxy) Close() {
	now := time.Now()
	p.drainBegan.CompareAndSwap(nil, &now)
	p.cut(errShuttingDown)
	p.streams.cut(true)
	_ = p.server.Close() // only says that a listener was closed already
}

// awaitQuiet returns nil after the quiet period, or the cause of the context's end.
func (p *Proxy) awaitQuiet(ctx context.Context) error {
	for {
		wait := inFlightPoll
		if since, quiet := p.meter.quietSince(); quiet {
			if began := p.drainBegan.Load(); began != nil && since.Before(*began) {
				since = *began
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
