package proxy

import (
	"context"
	"log"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/dataplane/tracing"
)

// Proxy is the request path that all listeners share.
type Proxy struct {
	reverse   *httputil.ReverseProxy
	upstreams *upstreams
	buffers   *replay.Buffers
	Clusters  ClusterTable
	// Tracer makes spans for the managers whose settings ask for them; nil makes none. It is set before requests come.
	Tracer *tracing.Tracer
	made   time.Time
}

// Since is the time since the proxy was made.
func (p *Proxy) Since() time.Duration { return time.Since(p.made) }

// ClusterTable finds clusters by name. Requests read it without a lock.
type ClusterTable struct{ m sync.Map }

// Get is the cluster of a name; nil when there is none.
func (t *ClusterTable) Get(name string) *Cluster {
	if c, ok := t.m.Load(name); ok {
		return c.(*Cluster)
	}
	return nil
}

// Put adds a cluster.
func (t *ClusterTable) Put(c *Cluster) { t.m.Store(c.Name, c) }

// Remove removes a cluster, if it is still the one of its name.
func (t *ClusterTable) Remove(c *Cluster) bool { return t.m.CompareAndDelete(c.Name, c) }

// All yields the clusters in no order, with removed ones that still serve.
func (t *ClusterTable) All(yield func(*Cluster) bool) {
	t.m.Range(func(_, v any) bool { return yield(v.(*Cluster)) })
}

// New makes a proxy without clusters.
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

// Manager serves requests under an HTTP connection manager.
type Manager struct {
	*settings.Manager
	proxy  *Proxy
	stats  *ManagerStats
	routes RouteSource
}

// RouteSource finds the newest routes for a host, which is in lower case and may have a port; nil when there are none.
type RouteSource func(host string) *settings.RouteTable

// NewManager makes a manager. Managers may share stats.
func (p *Proxy) NewManager(m *settings.Manager, stats *ManagerStats, routes RouteSource) *Manager {
	return &Manager{Manager: m, proxy: p, stats: stats, routes: routes}
}

// Close closes idle connections to endpoints.
func (p *Proxy) Close() { p.upstreams.close() }

// ServeHTTP serves one request.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{
		client: r.Context(), writer: w, proxy: m.proxy, manager: m,
		view: settings.Request{Request: r}, start: time.Now(), conn: framing.Of(r),
	}
	var cancel context.CancelCauseFunc
	x.Context, cancel = context.WithCancelCause(r.Context())
	x.clock = streamClock{start: x.start, cancel: cancel}
	m.stats.RqTotal.Add(1)
	m.stats.RqActive.Add(1)
	if m.Tracing.Protocol != "" {
		x.span = m.proxy.Tracer.Begin(r)
	}
	defer func() {
		cancel(nil)
		x.endSpan()
		m.stats.RqActive.Add(-1)
		m.stats.RqXX.add(x.status)
	}()
	if x.conn == nil || r.ContentLength == 0 {
		x.serve(w)
		x.whole = true
		return
	}
	// Both sides may stream at once, and no response waits for the end of its request.
	_ = http.NewResponseController(w).EnableFullDuplex()
	answered := false
	defer func() {
		if !answered { // net/http would still read the body
			x.conn.End()
		}
	}()
	x.serve(w)
	answered, x.whole = true, true
	x.endRequest()
}
