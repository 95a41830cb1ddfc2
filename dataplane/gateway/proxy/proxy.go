package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/replay"
)

// proxy is the request path that all listeners share.
type Proxy struct {
	reverse   *httputil.ReverseProxy
	upstreams *upstreams
	buffers   *replay.Buffers
	Clusters  ClusterTable
	made      time.Time
}

// since is the time since the proxy was made.
func (p *Proxy) Since() time.Duration { return time.Since(p.made) }

// clusterTable finds clusters by name. Requests read it without a lock.
type ClusterTable struct{ m sync.Map }

func (t *ClusterTable) Get(name string) *Cluster {
	if c, ok := t.m.Load(name); ok {
		return c.(*Cluster)
	}
	return nil
}

func (t *ClusterTable) Put(c *Cluster) { t.m.Store(c.Name, c) }

// remove takes a cluster away, if it is still the one of its name.
func (t *ClusterTable) Remove(c *Cluster) bool { return t.m.CompareAndDelete(c.Name, c) }

// all yields the clusters in no order, removed ones that linger too.
func (t *ClusterTable) All(yield func(*Cluster) bool) {
	t.m.Range(func(_, v any) bool { return yield(v.(*Cluster)) })
}

func New(logger hclog.Logger) *Proxy {
	p := &Proxy{upstreams: newUpstreams(), buffers: &replay.Buffers{}, made: time.Now()}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      p,
		BufferPool:     p.buffers,
		ModifyResponse: p.modifyResponse,
		ErrorHandler:   p.failed,
		ErrorLog:       debugLog(logger),
	}
	return p
}

// debugLog is for the messages of net/http, most of which are about clients that went away.
func debugLog(logger hclog.Logger) *log.Logger {
	return logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
}

// liveManager serves requests under an HTTP connection manager.
type Manager struct {
	*settings.Manager
	proxy  *Proxy
	stats  *ManagerStats
	routes RouteSource
}

// routeSource finds the newest routes for a host, which is in lower case and may have a port; nil when there are none.
type RouteSource func(host string) *settings.RouteTable

func (p *Proxy) NewManager(m *settings.Manager, stats *ManagerStats, routes RouteSource) *Manager {
	return &Manager{Manager: m, proxy: p, stats: stats, routes: routes}
}

// close closes idle connections to endpoints.
func (p *Proxy) Close() { p.upstreams.close() }

// ServeHTTP serves one request.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{
		client: r.Context(), writer: w, proxy: m.proxy, manager: m, view: settings.Request{Request: r}, start: time.Now(), conn: framing.Of(r),
	}
	var cancel context.CancelCauseFunc
	x.Context, cancel = context.WithCancelCause(r.Context())
	x.clock = streamClock{start: x.start, cancel: cancel}
	m.stats.RqTotal.Add(1)
	m.stats.RqActive.Add(1)
	defer func() {
		cancel(nil)
		m.stats.RqActive.Add(-1)
		m.stats.RqXX.add(x.status)
	}()
	if x.conn == nil || r.ContentLength == 0 {
		x.serve(w)
		return
	}
	// Both sides may stream at once, and no answer waits for the end of its request.
	_ = http.NewResponseController(w).EnableFullDuplex()
	answered := false
	defer func() {
		if !answered { // net/http would still read the body
			x.conn.End()
		}
	}()
	x.serve(w)
	answered = true
	x.endRequest()
}

// rewrite makes the outgoing request out of the incoming one. The scheme and host of its URL are set per attempt.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	in, out := pr.In, pr.Out
	out.URL.Scheme = "http"
	out.URL.RawQuery = in.URL.RawQuery // as it was sent; what is not valid is the application's to refuse
	for _, key := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := in.Header[key]; ok {
			out.Header[key] = values
		}
	}
	x.manager.forwarded(out.Header, in)
	x.manager.setRequestID(out.Header)
	x.changeHeaders(out.Header, requestChanges)
	x.rewriteHost(out)
	x.rewritePath(out)
}

func (x *exchange) rewriteHost(out *http.Request) {
	out.Host = x.view.Host
	host := x.target.HostRewrite
	if host == "" {
		host = x.route.Forward.HostRewrite
	}
	if host == "" {
		return
	}
	if x.route.Forward.AppendForwardedHost {
		out.Header["X-Forwarded-Host"] = append(out.Header["X-Forwarded-Host"], out.Host)
	}
	out.Host = host
}

func (x *exchange) rewritePath(out *http.Request) {
	path := x.view.Path
	if by := x.route.Forward.PrefixRewrite; by != "" {
		out.Header["X-Envoy-Original-Path"] = []string{x.view.RequestURI}
		path = settings.Rewritten(path, x.route.Path.Length, by)
	}
	if path == out.URL.EscapedPath() {
		return
	}
	if plain, err := url.PathUnescape(path); err == nil {
		out.URL.Path, out.URL.RawPath = plain, path
	}
	if out.URL.EscapedPath() != path && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path // has bytes that net/url would escape
	}
}

// RoundTrip sends a request to an endpoint, and to another one where the retry policy allows it.
func (p *Proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	transport := p.upstreams.transport(x.config, x.view.Request, x.upgrade != "")
	if req.Body != nil {
		x.takeBody(req, transport)
	}
	if transport == p.upstreams.http1 {
		req = x.carrying(req)
	}
	var tried []*Host
	for {
		h := x.pick(tried)
		if h == nil {
			x.cluster.Stats.CxNoneHealthy.Add(1)
			return nil, errNoHealthyUpstream
		}
		res, err := x.attempt(transport, req, h, len(tried) > 0)
		failure := judge(&x.route.Forward.Retry, res, err)
		if failure == nil || !x.mayRetry(failure, len(tried)) {
			x.request.Settle()
			return res, err
		}
		if req = x.anew(req, transport); req == nil {
			return res, err
		}
		x.discard(res)
		x.cluster.Stats.RqRetry.Add(1)
		h.load.withdraw(x.began, x.stream)
		x.counted = nil
		x.endpoints = x.cluster.Endpoints.Load() // which may know better by now
		tried = append(tried, h)
	}
}

// discard lets go of a response after which another attempt follows; nil is none.
func (x *exchange) discard(res *http.Response) {
	if res == nil {
		return
	}
	body := res.Body
	if x.response.ReadCloser != nil {
		body = x.response.ReadCloser // reading the other would begin the response to the client
	}
	go func() { // it may wait for the client, whose body the attempt still wants
		const little = 4 << 10
		_, _ = io.CopyN(io.Discard, body, little) // read to its end, the connection can be used again
		_ = body.Close()
	}()
	x.response = responseBody{}
	x.host.Active.Add(-1)
	x.host.Errors.Add(1)
	x.host = nil
}

func (x *exchange) pick(tried []*Host) *Host {
	if len(tried) > 0 && len(tried) == x.route.Forward.Retry.Attempts {
		return x.endpoints.pickLast(x.config.Policy, tried, x.ejected)
	}
	return x.endpoints.Pick(x.config.Policy, tried, x.ejected)
}

func (x *exchange) ejected(h *Host) bool { return h.ejected(x.proxy.Since) }

// anew is a copy of a request for another attempt, since the transport may still look at the one before; nil when its body
// cannot be sent from its beginning any more.
func (x *exchange) anew(req *http.Request, t *http.Transport) *http.Request {
	again := *req.URL
	req = req.WithContext(req.Context())
	req.URL = &again
	if x.source.x == nil {
		return req
	}
	body, ok := x.request.Rewind()
	if !ok {
		return nil
	}
	x.fill(req, t, body)
	return req
}

// attempt sends the request to one endpoint.
func (x *exchange) attempt(t *http.Transport, req *http.Request, h *Host, again bool) (*http.Response, error) {
	x.host = h
	req.URL.Host = h.Address
	// An expected body that the endpoint has refused would be sent all the same, if its connection were used again.
	once := x.config.SingleUse && x.upgrade == "" || len(x.view.Header["Expect"]) > 0
	req.Close = once && t == x.proxy.upstreams.http1
	h.Total.Add(1)
	h.Active.Add(1)
	if x.began = x.start.Sub(x.proxy.made); again {
		x.began = x.proxy.Since()
	}
	x.counted = h.load
	h.load.begin(x.began, x.stream)
	x.clock.attempted()
	res, err := x.send(t, req)
	if err != nil {
		h.Active.Add(-1)
		h.Errors.Add(1)
		x.host = nil
		if x.Err() == nil || errors.Is(context.Cause(x), errResponseTimeout) {
			h.failed(x.config.Outliers, x.proxy.Since())
		}
		return nil, err
	}
	h.answered()
	x.clock.answered()
	x.watch(res)
	return res, nil
}

// staleTries bounds how many connections in a row are found to have been closed before another host is tried.
const staleTries = 4

// send sends the request, and once more where that could not be because its endpoint had closed a connection that was kept
// alive. Nobody has seen anything of the request then.
func (x *exchange) send(t *http.Transport, req *http.Request) (*http.Response, error) {
	for tries := 0; ; tries++ {
		res, err := t.RoundTrip(req)
		x.release()
		if err == nil || tries == staleTries || !stale(err) || x.Err() != nil {
			return res, err
		}
		again := x.anew(req, t)
		if again == nil {
			return nil, err
		}
		req = again
	}
}

// watch has the clock look at what flows back.
func (x *exchange) watch(res *http.Response) {
	x.response.x = x
	if both, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &upgradedBody{both, x}
		x.clock.upgraded()
		return
	}
	x.response.ReadCloser = res.Body
	if res.ContentLength > 0 {
		// One of unknown length is flushed by the ReverseProxy after each write.
		x.response.flusher, _ = x.writer.(http.Flusher)
	}
	res.Body = &x.response
}

func (x *exchange) mayRetry(err error, before int) bool {
	policy := &x.route.Forward.Retry
	if x.Err() != nil || !retriable(policy, err) {
		return false
	}
	x.exhausted = before >= policy.Attempts
	return !x.exhausted
}

// modifyResponse changes the headers of a response on its way to the client.
func (p *Proxy) modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	x.status = res.StatusCode
	if len(res.Trailer) > 0 {
		delete(res.Header, "Content-Length") // HTTP/1.1 has trailers after chunks alone
	}
	x.changeHeaders(res.Header, responseChanges)
	if _, ok := res.Header["Content-Type"]; !ok {
		x.writer.Header()["Content-Type"] = nil // or net/http would guess one
	}
	if x.manager.RequestIDInResponse {
		res.Header["X-Request-Id"] = res.Request.Header["X-Request-Id"]
	}
	return nil
}

var errNoHealthyUpstream = errors.New("no healthy upstream")

// failed answers a request that got no response.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if x.client.Err() != nil && !x.lost.Load() {
		// Nobody is there to be answered; ending the stream hard tells a client that was wrong about that.
		panic(http.ErrAbortHandler)
	}
	reply := x.failure(err)
	if x.exhausted {
		reply.flags += ",URX"
	}
	x.reply(w, reply)
}

// failure is Envoy's reply to a failure.
func (x *exchange) failure(err error) localReply {
	var connect *connectError
	switch cause := context.Cause(x); {
	case errors.Is(cause, errResponseTimeout):
		x.cluster.Stats.RqTimeout.Add(1)
		return localReply{http.StatusGatewayTimeout, "UT", cause.Error()}
	case errors.Is(cause, errIdleTimeout):
		return localReply{http.StatusGatewayTimeout, "SI", cause.Error()}
	case errors.Is(cause, errInterimResponses):
		return localReply{http.StatusBadGateway, "UPE", cause.Error()}
	case errors.Is(cause, errMaxDuration):
		return localReply{http.StatusGatewayTimeout, "DT", cause.Error()}
	case errors.Is(err, errNoHealthyUpstream):
		return localReply{http.StatusServiceUnavailable, "UH", err.Error()}
	case x.lost.Load(), errors.Is(cause, errLost):
		return localReply{http.StatusServiceUnavailable, "UC", resetBefore + "connection termination"}
	case x.request.Failed():
		return localReply{http.StatusBadRequest, "DPE", "the request's body could not be read"}
	case errors.As(err, &connect):
		return localReply{http.StatusServiceUnavailable, "UF", resetBefore + "connection failure"}
	}
	return localReply{http.StatusServiceUnavailable, "UC", resetBefore + "connection termination"}
}

// resetBefore begins Envoy's body of a reply to a request whose upstream connection was lost.
const resetBefore = "upstream connect error or disconnect/reset before headers. reset reason: "

// localReply is an answer that does not come from an upstream.
type localReply struct {
	status int
	// flags are Envoy's short names for the reason; empty when nothing went wrong.
	flags string
	body  string
}

// flagsHeader carries the response flags, which Envoy has in its access log alone.
const flagsHeader = "X-Envoy-Response-Flags"

// reply writes a local reply; a gRPC client gets it as a gRPC status.
func (x *exchange) reply(w http.ResponseWriter, reply localReply) {
	x.status = reply.status
	h := w.Header()
	if reply.flags != "" {
		h.Set(flagsHeader, reply.flags)
	}
	x.changeHeaders(h, responseChanges)
	if settings.IsGRPC(x.view.Request) {
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", grpcStatus(reply.status))
		h.Set("Grpc-Message", url.PathEscape(reply.body))
		w.WriteHeader(http.StatusOK)
		return
	}
	if reply.body != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain")
	}
	h.Set("Content-Length", strconv.Itoa(len(reply.body)))
	w.WriteHeader(reply.status)
	if reply.body != "" && x.view.Method != http.MethodHead {
		_, _ = io.Copy(w, strings.NewReader(reply.body)) // the client may be gone
	}
}

// grpcStatus translates a status as gRPC's table "HTTP to gRPC status code mapping" has it.
func grpcStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "13" // INTERNAL
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound:
		return "12" // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "14" // UNAVAILABLE
	}
	return "2" // UNKNOWN
}
