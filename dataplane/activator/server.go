package activator

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/peer"
)

// answerWait is how long the answers of requests that were cut off may take.
const answerWait = 500 * time.Millisecond

func (a *Activator) newServer() *http.Server {
	base, cut := context.WithCancelCause(context.Background())
	a.cut = cut
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           a,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: a.opts.Limits.Streams},
		ReadHeaderTimeout: a.opts.Limits.ReadHeader,
		IdleTimeout:       a.opts.Limits.IdleConnection,
		MaxHeaderBytes:    a.opts.Limits.HeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       rememberConn,
		ConnState:         framing.ConnState,
		// OPTIONS * is for the application too.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     a.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

func rememberConn(ctx context.Context, c net.Conn) context.Context {
	return peer.Remember(framing.ConnContext(ctx, c), c)
}

// ServeHTTP passes a request to a replica of its revision.
func (a *Activator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := intake.Begin(w, r)
	defer body.End()
	name, refused := a.admit(w, r)
	if refused != nil {
		body.Answer(true)
		a.metrics.refused.WithLabelValues(refused.reason).Inc()
		refused.answer(w, r)
		return
	}
	if a.keeps(r, name) {
		a.serveTask(w, r, body, name)
		return
	}
	a.serve(w, r, body, name)
}

// admit returns which revision a request is for, or why it is refused.
func (a *Activator) admit(w http.ResponseWriter, r *http.Request) (revisionName, *refusal) {
	if why := intake.Malformed(r); why != "" {
		w.Header().Set("Connection", "close")
		return revisionName{}, &refusal{http.StatusBadRequest, contract.ReasonBadRequest, 0, why}
	}
	if tooManyHeaders(r, a.opts.Limits.Headers) {
		return revisionName{}, errTooManyHeaders
	}
	name, err := nameOf(r.Header[contract.NamespaceHeader], r.Header[contract.RevisionHeader])
	if err != nil {
		if name, err = a.resolve(r); err != nil {
			return name, cmp.Or(refusalOf(err), errNoRevision)
		}
	}
	return name, nil
}

func tooManyHeaders(r *http.Request, limit int) bool {
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	return n > limit
}

func (a *Activator) arrive(now time.Time) {
	a.arrived.Store(now.UnixNano())
	a.inFlight.Add(1)
}

func (a *Activator) depart() { a.inFlight.Add(-1) }

// Shutdown drains the activator and ends its server. The control plane stops naming it to gateways, but it serves all requests that still
// arrive, until none was in flight and none arrived for the quiet period. When ctx ends before, Shutdown cuts the requests in flight,
// upgraded connections too, and returns the context's cause.
func (a *Activator) Shutdown(ctx context.Context) error {
	a.draining.Store(true)
	a.client.Retire()
	err := a.awaitQuiet(ctx)
	if err == nil {
		err = a.server.Shutdown(ctx)
	}
	if err != nil {
		// What is left gets its answer, or its connection is closed.
		a.cut(errShuttingDown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWait)
		defer cancel()
		_ = a.server.Shutdown(last) // the error to return is the first one
	}
	a.Close()
	return err
}

// Close ends the server and the requests in flight at once.
func (a *Activator) Close() {
	a.draining.Store(true)
	a.cut(errShuttingDown)
	_ = a.server.Close()   // only says that a listener was closed already
	_ = a.listener.Close() // likewise
	a.http2.CloseIdleConnections()
	a.direct.CloseIdleConnections()
	for r := range a.revisions.all() {
		for _, replica := range r.Replicas() {
			replica.Pool.Close()
		}
	}
}

// awaitQuiet returns nil after the quiet period, or the cause of the context's end.
func (a *Activator) awaitQuiet(ctx context.Context) error {
	const poll = 20 * time.Millisecond // while requests are in flight
	began := time.Now()
	for {
		wait := poll
		if a.inFlight.Load() == 0 {
			since := time.Unix(0, a.arrived.Load())
			if since.Before(began) {
				since = began
			}
			if wait = a.opts.Quiet - time.Since(since); wait <= 0 {
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
