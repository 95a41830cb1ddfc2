package gateway

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/proxy"
)

// serveStats writes the counters in Prometheus' text format as Envoy does. With ?usedonly it leaves out clusters without a request; it
// always leaves out their histograms.
func (g *Gateway) serveStats(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	out := &metricWriter{}
	clusters := g.clusters()
	g.writeServer(out, len(clusters))
	if r.URL.Query().Has("usedonly") {
		clusters = slices.DeleteFunc(clusters, func(c *proxy.Cluster) bool { return c.Stats.RqTotal.Load() == 0 })
	}
	writeClusters(out, clusters)
	_, _ = out.WriteTo(w) // the reader may be gone
}

// spansDropped is the name of Envoy's counter of spans that were not sent.
const spansDropped = "envoy_tracing_opentelemetry_spans_dropped"

// metricWriter writes families of metrics.
type metricWriter struct{ bytes.Buffer }

func (w *metricWriter) family(name, kind string) {
	fmt.Fprintf(&w.Buffer, "# TYPE %s %s\n", name, kind)
}

func (w *metricWriter) sample(name, labels string, value string) {
	w.WriteString(name)
	w.WriteByte('{')
	w.WriteString(labels)
	w.WriteString("} ")
	w.WriteString(value)
	w.WriteByte('\n')
}

// label is one label.
func label(name, value string) string { return name + `="` + escaped.Replace(value) + `"` }

// escaped is the escaping of label values.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (g *Gateway) writeServer(w *metricWriter, clusters int) {
	live := g.ready()
	g.mu.Lock()
	defer g.mu.Unlock()
	gauge := func(name string, value int) {
		w.family(name, "gauge")
		w.sample(name, "", strconv.Itoa(value))
	}
	gauge("envoy_server_live", map[bool]int{true: 1}[live])
	gauge("envoy_server_uptime", int(time.Since(g.started).Seconds()))
	gauge("envoy_cluster_manager_active_clusters", clusters)
	gauge("envoy_listener_manager_total_listeners_active", len(g.listeners))
	w.family(spansDropped, "counter")
	w.sample(spansDropped, "", strconv.FormatUint(g.proxy.Tracer.Dropped(), 10))
	for _, t := range []struct{ url, name string }{
		{resource.ListenerType, "envoy_listener_manager_lds"}, {resource.ClusterType, "envoy_cluster_manager_cds"},
		{resource.RouteType, "envoy_http_rds"}, {resource.ScopedRouteType, "envoy_http_scoped_rds"},
		{resource.EndpointType, "envoy_cluster_eds"}, {resource.SecretType, "envoy_sds"},
	} {
		stats := g.updates[t.url]
		if stats == nil {
			stats = &typeStats{}
		}
		w.family(t.name+"_update_success", "counter")
		w.sample(t.name+"_update_success", "", strconv.FormatUint(stats.ok, 10))
		w.family(t.name+"_update_rejected", "counter")
		w.sample(t.name+"_update_rejected", "", strconv.FormatUint(stats.rejected, 10))
	}
	g.writeManagers(w)
}

func (g *Gateway) writeManagers(w *metricWriter) {
	prefixes := slices.Sorted(maps.Keys(g.stats))
	each := func(name, kind string, value func(*prefixStats) uint64) {
		w.family(name, kind)
		for _, p := range prefixes {
			w.sample(name, label("envoy_http_conn_manager_prefix", p), strconv.FormatUint(value(g.stats[p]), 10))
		}
	}
	each("envoy_http_downstream_rq_total", "counter", func(s *prefixStats) uint64 { return s.requests.RqTotal.Load() })
	each("envoy_http_downstream_rq_active", "gauge", func(s *prefixStats) uint64 { return uint64(max(0, s.requests.RqActive.Load())) })
	each("envoy_http_downstream_cx_total", "counter", func(s *prefixStats) uint64 { return s.connections.Total.Load() })
	each("envoy_http_downstream_cx_active", "gauge", func(s *prefixStats) uint64 { return uint64(max(0, s.connections.Active.Load())) })
	w.family("envoy_http_downstream_rq_xx", "counter")
	for _, p := range prefixes {
		writeClasses(w, "envoy_http_downstream_rq_xx", label("envoy_http_conn_manager_prefix", p), &g.stats[p].requests.RqXX)
	}
}

func writeClasses(w *metricWriter, name, labels string, s *proxy.StatusClasses) {
	for class := 1; class < len(s); class++ {
		w.sample(name, label("envoy_response_code_class", strconv.Itoa(class))+","+labels, strconv.FormatUint(s[class].Load(), 10))
	}
}

func writeClusters(w *metricWriter, clusters []*proxy.Cluster) {
	labels := make([]string, len(clusters))
	for i, c := range clusters {
		labels[i] = label("envoy_cluster_name", c.Name)
	}
	each := func(name, kind string, value func(*proxy.Cluster) uint64) {
		w.family("envoy_cluster_"+name, kind)
		for i, c := range clusters {
			w.sample("envoy_cluster_"+name, labels[i], strconv.FormatUint(value(c), 10))
		}
	}
	each("upstream_rq_total", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.RqTotal.Load() })
	each("upstream_rq_active", "gauge", func(c *proxy.Cluster) uint64 { return uint64(max(0, c.Stats.RqActive.Load())) })
	each("upstream_rq_timeout", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.RqTimeout.Load() })
	each("upstream_rq_retry", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.RqRetry.Load() })
	each("upstream_cx_total", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.CxTotal.Load() })
	each("upstream_cx_active", "gauge", func(c *proxy.Cluster) uint64 { return uint64(max(0, c.Stats.CxActive.Load())) })
	each("upstream_cx_connect_fail", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.CxConnectFail.Load() })
	each("upstream_cx_none_healthy", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.CxNoneHealthy.Load() })
	each("membership_change", "counter", func(c *proxy.Cluster) uint64 { return c.Stats.MembershipChange.Load() })
	each("membership_total", "gauge", func(c *proxy.Cluster) uint64 { return uint64(len(c.Endpoints.Load().List())) })
	each("membership_healthy", "gauge", func(c *proxy.Cluster) uint64 { return c.Endpoints.Load().Healthy() })
	w.family("envoy_cluster_upstream_rq_xx", "counter")
	for i, c := range clusters {
		writeClasses(w, "envoy_cluster_upstream_rq_xx", labels[i], &c.Stats.RqXX)
	}
	w.family("envoy_cluster_upstream_rq_time", "histogram")
	for i, c := range clusters {
		if c.Stats.RqTotal.Load() > 0 {
			writeHistogram(w, "envoy_cluster_upstream_rq_time", labels[i], &c.Stats.RqTime)
		}
	}
}

func writeHistogram(w *metricWriter, name, labels string, h *proxy.Histogram) {
	var total uint64
	for i := range h.Buckets {
		total += h.Buckets[i].Load()
		bound := "+Inf"
		if i < len(proxy.HistogramBounds) {
			bound = strconv.FormatFloat(proxy.HistogramBounds[i], 'f', -1, 64)
		}
		w.sample(name+"_bucket", labels+","+label("le", bound), strconv.FormatUint(total, 10))
	}
	w.sample(name+"_sum", labels, strconv.FormatFloat(float64(h.Sum.Load())/1000, 'f', -1, 64))
	w.sample(name+"_count", labels, strconv.FormatUint(total, 10))
}
