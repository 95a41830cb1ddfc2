package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/dataplane/gateway/proxy"
)

// Admin serves the pages of Envoy's admin interface that tools rely on: GET /ready, /clusters, /config_dump and /stats/prometheus.
// It has no access control: serve it on loopback.
func (g *Gateway) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", g.serveReady)
	mux.HandleFunc("GET /clusters", g.serveClusters)
	mux.HandleFunc("GET /config_dump", g.serveConfigDump)
	mux.HandleFunc("GET /stats/prometheus", g.serveStats)
	return mux
}

// serveReady responds with 200 LIVE when the gateway serves all listeners, else with 503 and Envoy's word for the state.
func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	status, state := http.StatusServiceUnavailable, "INITIALIZING"
	switch {
	case g.ready():
		status, state = http.StatusOK, "LIVE"
	case g.ending.Load():
		state = "DRAINING"
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, state+"\n") // the reader may be gone
}

// clusters are the clusters by name, without removed ones.
func (g *Gateway) clusters() []*proxy.Cluster {
	var out []*proxy.Cluster
	for c := range g.proxy.Clusters.All {
		if !c.Removed.Load() {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *proxy.Cluster) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (g *Gateway) serveClusters(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "json" {
		m := &adminv3.Clusters{}
		for _, c := range g.clusters() {
			m.ClusterStatuses = append(m.ClusterStatuses, statusOf(c))
		}
		writeJSON(w, m)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	var out bytes.Buffer
	for _, c := range g.clusters() {
		writeText(&out, c)
	}
	_, _ = out.WriteTo(w) // the reader may be gone
}

// writeText writes a cluster as Envoy does: lines of cluster::key::value.
func writeText(w *bytes.Buffer, c *proxy.Cluster) {
	fmt.Fprintf(w, "%s::observability_name::%s\n%s::added_via_api::true\n", c.Name, c.Name, c.Name)
	for _, e := range c.Endpoints.Load().List() {
		at := c.Name + "::" + e.Address + "::"
		for _, s := range hostStats(e.Host) {
			fmt.Fprintf(w, "%s%s::%d\n", at, s.GetName(), s.GetValue())
		}
		health := "healthy"
		if !e.Health.Usable() {
			health = "/failed_eds_health"
		}
		fmt.Fprintf(w, "%shealth_flags::%s\n%sweight::%d\n%szone::%s\n%spriority::%d\n",
			at, health, at, e.Weight, at, e.Zone, at, e.Priority)
	}
}

func statusOf(c *proxy.Cluster) *adminv3.ClusterStatus {
	m := &adminv3.ClusterStatus{Name: c.Name, ObservabilityName: c.Name, AddedViaApi: true, EdsServiceName: c.Config.Load().EDS}
	for _, e := range c.Endpoints.Load().List() {
		health := corev3.HealthStatus(e.Health)
		if health == corev3.HealthStatus_UNKNOWN {
			health = corev3.HealthStatus_HEALTHY
		}
		m.HostStatuses = append(m.HostStatuses, &adminv3.HostStatus{
			Address:      socketAddress(e.Address),
			Stats:        hostStats(e.Host),
			HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: health},
			Weight:       e.Weight,
			Priority:     e.Priority,
			Locality:     &corev3.Locality{Zone: e.Zone},
		})
	}
	return m
}

// hostStats are a host's counters under Envoy's names.
func hostStats(h *proxy.Host) []*adminv3.SimpleMetric {
	return []*adminv3.SimpleMetric{
		{Name: "rq_active", Type: adminv3.SimpleMetric_GAUGE, Value: uint64(max(0, h.Active.Load()))},
		{Name: "rq_error", Type: adminv3.SimpleMetric_COUNTER, Value: h.Errors.Load()},
		{Name: "rq_total", Type: adminv3.SimpleMetric_COUNTER, Value: h.Total.Load()},
	}
}

func writeJSON(w http.ResponseWriter, m proto.Message) {
	body, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " "}.Marshal(m)
	if err != nil {
		http.Error(w, fmt.Sprintf("writing %s as JSON: %v", m.ProtoReflect().Descriptor().FullName(), err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the reader may be gone
}
