package queueproxy

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/lost"
	"sluice.dev/sluice/dataplane/peer"
	"sluice.dev/sluice/dataplane/queueproxy/breaker"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

// clientGone is nginx's status for a request whose client did not wait for the answer. Only the metrics and the request log have it.
const clientGone = 499

var (
	errRequestTimeout = errors.New("request timeout")
	errShuttingDown   = errors.New("shutting down")
)

// queuePerPlace is how many requests may wait for each that may run, as in Knative (queueDepth = 10 × containerConcurrency).
const queuePerPlace = 10

// Options configure a Proxy. Only Target is required.
type Options struct {
	// Target is the host:port of the application.
	Target string
	// Revision is the application's. A request whose headers name another one is refused: its sender has the address of a replica that is
	// gone. The zero Key takes all requests.
	Revision model.Key
	// Pod is the name of the replica, to which messages of the platform are addressed; it may be empty.
	Pod string
	// Protocol is what the application speaks; HTTP/1.1 unless it is model.H2C. Upgrades (WebSocket) always use HTTP/1.1.
	Protocol model.Protocol
	// Concurrency is how many requests the application gets at a time; 0 means no limit. Ten times as many may wait.
	Concurrency int
	// Timeout bounds a whole request, also its wait in the queue. ResponseStart bounds the time to the first byte that is written. Idle
	// bounds the time between two writes, and so also the time to the first. 0 means no bound.
	Timeout, ResponseStart, Idle time.Duration
	// ActivatorKey checks the proof of an activator that it counts a request (see contract.Signer). Without one, any sender
	// that claims to be an activator is believed, as in Knative; nobody else must be able to reach the proxy then.
	ActivatorKey contract.Key
	// Ready probes the application for Readiness. nil means always ready.
	Ready func(context.Context) error
	// Transport carries requests to the application; share one among many proxies. nil makes one.
	Transport *Transport
	// Logger logs errors of connections at debug level, and at most once a second a warning that the application did not answer a request.
	// It may be nil.
	Logger hclog.Logger
	// Limits bound what clients may do. Zero fields have the defaults documented there.
	Limits Limits
	// Quiet is for how long no request must arrive before a drain is over; 0 means 1 s.
	Quiet time.Duration
	// StreamDrain is how long streams (upgraded connections, gRPC) may go on after the start of Shutdown; 0 means as long as Shutdown's
	// context allows.
	StreamDrain time.Duration
	// RequestLog gets one line of JSON, in one Write, for each request that ended; a slow one delays requests. A line has method, host,
	// path, status, bytes, duration, user agent and Labels, but no other header. nil writes none.
	RequestLog io.Writer
	// LogQuery adds the query to the request log. It may hold secrets.
	LogQuery bool
	// Labels identify the replica in the request log, such as revision and pod.
	Labels map[string]string
	// Tracer makes a span for each request; nil makes none. The Proxy does not close it.
	Tracer *tracing.Tracer
}

// Proxy is the proxy of one replica. Make it with New, serve with Serve, and end it with Shutdown.
type Proxy struct {
	opts      Options
	proven    atomic.Pointer[string] // the proof of activators; nil until one has sent it
	breaker   *breaker.Breaker
	reverse   httputil.ReverseProxy // each exchange copies it
	transport http.RoundTripper
	reuse     reuse
	server    *http.Server
	meter     meter
	log       *requestLog // nil when there is none
	lost      *lost.Log

	drainBegan atomic.Pointer[time.Time]
	cut        context.CancelCauseFunc // ends all requests in flight
	streams    *streamCutter
	deadline   deadline // of streams
}

// New returns a Proxy that serves nothing yet.
func New(opts Options) *Proxy {
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	if opts.Transport == nil {
		opts.Transport = NewTransport()
	}
	opts.Limits = opts.Limits.withDefaults()
	opts.Quiet = cmp.Or(opts.Quiet, time.Second)
	p := &Proxy{
		opts: opts, breaker: newBreaker(opts.Concurrency), log: newRequestLog(opts),
		lost: lost.NewLog(),
	}
	p.meter.began = time.Now()
	p.meter.last = p.meter.began
	p.streams = newStreamCutter()
	p.transport = opts.Transport.forProtocol(opts.Protocol)
	p.reverse = httputil.ReverseProxy{
		ModifyResponse: answered,
		BufferPool:     opts.Transport.buffers,
		ErrorHandler:   p.fail,
		ErrorLog:       opts.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	p.server = p.newServer()
	return p
}

func newBreaker(concurrency int) *breaker.Breaker {
	if concurrency <= 0 {
		return breaker.New(breaker.Unlimited, 0)
	}
	return breaker.New(concurrency, queuePerPlace*concurrency)
}

// ServeHTTP passes a request to the application.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := intake.Begin(w, r)
	defer body.End()
	if p.turnAway(w, r, body) {
		return
	}
	e, r := p.newExchange(w, r, body)
	defer e.end(r)
	release, err := p.acquire(e, r)
	if err != nil {
		p.fail(e, r, err)
		return
	}
	defer release()
	e.reverse.ServeHTTP(e, r)
}

// turnAway refuses requests that are not for the application, and reports whether it did.
func (p *Proxy) turnAway(w http.ResponseWriter, r *http.Request, body *intake.Body) bool {
	switch why := intake.Malformed(r); {
	case why != "":
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusBadRequest, contract.ReasonBadRequest, why)
	case tooManyHeaders(r, p.opts.Limits.Headers):
		body.Answer(true)
		refuse(w, http.StatusRequestHeaderFieldsTooLarge, contract.ReasonTooManyHeaders, "too many request headers")
	case p.misdirected(r):
		body.Answer(true)
		refuse(w, http.StatusServiceUnavailable, contract.ReasonUnsent,
			"this replica is not of the revision that the request is for; it has not received the request")
	default:
		return false
	}
	return true
}

// acquire takes a slot, and waits for one if none is free.
func (p *Proxy) acquire(e *exchange, r *http.Request) (release func(), err error) {
	if release, ok := p.breaker.TryAcquire(); ok {
		return release, nil
	}
	if waiting := e.span.Child("wait for a slot", time.Now()); waiting != nil {
		defer func() { waiting.End(err) }()
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if e.entry.proxied && leased(r) {
		timer := time.AfterFunc(leaseGrace, func() { cancel(errBusy) })
		defer timer.Stop()
	}
	defer peer.Watch(r, cancel)()
	return p.breaker.Acquire(ctx)
}

// leaseGrace is how long a task with a slot at this replica waits for it: the activator sees the end of the task before a moment sooner.
const leaseGrace = 20 * time.Millisecond

// errBusy is for a task whose slot another one has, after a change of the activator that owns the revision. Its activator keeps its place
// in the queue.
var errBusy = fmt.Errorf("the slot of the task is taken: %w", errUnsent)

// leased reports whether an activator has a slot of this replica for a task.
func leased(r *http.Request) bool {
	values := r.Header[contract.SlotHeader]
	return len(values) == 1 && values[0] == contract.SlotLeased
}

// misdirected reports whether a request is for another revision. After a restart, another replica may have the port of one that is gone,
// and the wrong application must not answer a sender that does not know that yet.
func (p *Proxy) misdirected(r *http.Request) bool {
	if p.opts.Revision == (model.Key{}) {
		return false
	}
	revision, namespace := r.Header[contract.RevisionHeader], r.Header[contract.NamespaceHeader]
	return len(revision) == 1 && len(namespace) == 1 && (revision[0] != p.opts.Revision.Name || namespace[0] != p.opts.Revision.Namespace)
}

// isProxied reports whether an activator counts a request. A client that could claim so would hide its load from the autoscaler.
func (p *Proxy) isProxied(r *http.Request) bool {
	proofs := r.Header[contract.ProxyHeader]
	if len(proofs) != 1 {
		return false
	}
	if proven := p.proven.Load(); proven != nil && subtle.ConstantTimeCompare([]byte(proofs[0]), []byte(*proven)) == 1 {
		return true // all activators have the same one
	}
	if !p.opts.ActivatorKey.ProvesProxy(p.opts.Revision.Namespace, p.opts.Revision.Name, proofs[0]) {
		return false
	}
	p.proven.Store(&proofs[0])
	return true
}

// rewrite makes the request that the application gets.
func (e *exchange) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme = "http"
	pr.Out.URL.Host = e.proxy.opts.Target
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as the client wrote it: ReverseProxy drops what it cannot parse
	path, _, _ := strings.Cut(pr.In.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.Contains(path, " ") {
		pr.Out.URL.Opaque = path // likewise: package url would encode some characters differently, which only a space needs
	}
	if e.body != nil {
		pr.Out.Body = e.body
	}
	pr.Out.Trailer = pr.In.Trailer             // the map itself: its values arrive after the body
	pr.Out.Header.Del(contract.RevisionHeader) // these two are not for the application, as in Knative
	pr.Out.Header.Del(contract.NamespaceHeader)
	for _, name := range contract.InternalHeaders {
		delete(pr.Out.Header, name)
	}
	forward(pr.In, pr.Out)
}

// answered turns the application's response into the client's. It removes the reason: an application may forward the answer of another
// service, whose reason would cause a retry of the application's own request.
func answered(response *http.Response) error {
	response.Header.Del(contract.ReasonHeader)
	endGRPC(response)
	return nil
}

// fail answers a request that the application did not. The cause of the context's end is more precise than err, unless the interrupted
// reading of the body caused it.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	var body *intake.Body
	if e, ok := w.(*exchange); ok {
		e.own, body = true, e.body
	}
	cause := context.Cause(r.Context())
	failed, interrupted := body.Result()
	lost := errors.Is(cause, errLost) || errors.Is(cause, errTooManyInformational)
	gone := cause != nil && !interrupted && !lost || errors.Is(err, peer.ErrGone)
	switch {
	case errors.Is(cause, errRequestTimeout):
		refuse(w, http.StatusGatewayTimeout, contract.ReasonRequestTimeout, errRequestTimeout.Error())
	case errors.Is(cause, errShuttingDown):
		refuse(w, http.StatusServiceUnavailable, contract.ReasonShuttingDown, errShuttingDown.Error())
	case errors.Is(err, breaker.ErrFull):
		refuse(w, http.StatusServiceUnavailable, contract.ReasonQueueFull, err.Error())
	case failed:
		refuse(w, http.StatusBadRequest, contract.ReasonBadBody, "the body of the request could not be read")
	case gone: // nobody reads the answer
		w.WriteHeader(clientGone)
	case errors.Is(err, errUnsent):
		p.opts.Logger.Debug("the application was not reached", "method", r.Method, "path", r.URL.Path, "error", err)
		refuse(w, http.StatusServiceUnavailable, contract.ReasonUnsent, errUnsent.Error())
	default:
		p.lost.Warn(p.opts.Logger, "the application did not answer", r, err)
		refuse(w, http.StatusBadGateway, contract.ReasonUnreachable, "the application did not answer")
	}
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set(contract.ReasonHeader, reason)
	http.Error(w, message, status)
}

func tooManyHeaders(r *http.Request, limit int) bool {
	n := 0
	for _, values := range r.Header {
		n += len(values)
	}
	return n > limit
}

// forward copies the forwarding headers for the application. It adds the peer to X-Forwarded-For, and makes Forwarded (RFC 7239) from the
// others when there is none.
func forward(in, out *http.Request) {
	for _, name := range [...]string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values
		}
	}
	clients := strings.Join(in.Header["X-Forwarded-For"], ", ")
	if in.Header["Forwarded"] == nil {
		if f := forwarded(clients, in.Header.Get("X-Forwarded-Host"), in.Header.Get("X-Forwarded-Proto")); f != "" {
			out.Header["Forwarded"] = []string{f}
		}
	}
	peer := (&url.URL{Host: in.RemoteAddr}).Hostname()
	if clients != "" && peer != "" {
		clients += ", "
	}
	if clients+peer != "" {
		out.Header["X-Forwarded-For"] = []string{clients + peer}
	}
}

// forwarded makes a Forwarded header as Knative does: host and proto belong to the first of the clients, which are separated by commas. It
// is empty when all three are.
func forwarded(clients, host, proto string) string {
	var elements []string
	for node := range strings.SplitSeq(clients, ",") {
		if node = strings.TrimSpace(node); node == "" {
			continue
		}
		if strings.Contains(node, ":") {
			node = `"[` + node + `]"`
		}
		elements = append(elements, "for="+node)
	}
	var first []string
	if len(elements) > 0 {
		first = append(first, elements[0])
		elements = elements[1:]
	}
	if host != "" {
		first = append(first, "host="+host)
	}
	if proto != "" {
		first = append(first, "proto="+proto)
	}
	return strings.Join(append([]string{strings.Join(first, ";")}, elements...), ", ")
}
