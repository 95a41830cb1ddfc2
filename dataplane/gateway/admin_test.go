package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice.dev/sluice/dataplane/gateway/proxy"
)

// page gets an admin page as "status body".
func (b *bench) page(path string) string {
	b.Helper()
	res, err := noRedirects.Get(b.admin.URL + path)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

func TestAdminPagesLookLikeEnvoys(t *testing.T) {
	b := start(t, Options{})
	if got := b.page("/ready"); got != "503 INITIALIZING\n" {
		t.Errorf("/ready says %q before anything has come", got)
	}
	sick := group(1, "activator", "127.0.0.9:9")
	sick.LbEndpoints[0].HealthStatus = corev3.HealthStatus_UNHEALTHY
	addr := upstream(t, says("a"))
	b.push(all(one(plain(t)), backend(t, "ns/rev"), one(endpoints(t, "ns/rev", group(0, "pods", addr), sick)), backend(t, "unused"),
		one(routes(t, vhost("h", "*", to(prefix("/gone"), "gone"), to(prefix("/"), "ns/rev")))))...)
	for range 3 {
		b.get("http://h/").want(t, 200, "a")
	}
	b.get("http://h/gone")

	stats := b.page("/stats/prometheus")
	for _, want := range []string{
		"# TYPE envoy_cluster_upstream_rq_total counter\n", `envoy_cluster_upstream_rq_total{envoy_cluster_name="ns/rev"} 3`,
		`envoy_cluster_upstream_rq_active{envoy_cluster_name="ns/rev"} 0`,
		`envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="ns/rev"} 3`,
		`envoy_cluster_upstream_cx_active{envoy_cluster_name="ns/rev"} 1`,
		`envoy_cluster_membership_healthy{envoy_cluster_name="ns/rev"} 1`,
		"# TYPE envoy_cluster_upstream_rq_time histogram\n",
		`envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ns/rev",le="+Inf"} 3`,
		`envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ns/rev",le="3600000"} 3`,
		`envoy_cluster_upstream_rq_time_count{envoy_cluster_name="ns/rev"} 3`,
		`envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="http"} 4`,
		`envoy_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="http"} 1`, "envoy_server_live{} 1",
		`envoy_cluster_upstream_rq_total{envoy_cluster_name="unused"} 0`,
	} {
		if !strings.Contains(stats, want) {
			t.Errorf("/stats/prometheus lacks %s", want)
		}
	}
	if used := b.page("/stats/prometheus?usedonly"); strings.Contains(used, "unused") {
		t.Error("?usedonly shows a cluster that was not used")
	}
	clusters := b.page("/clusters")
	for _, want := range []string{
		"ns/rev::added_via_api::true\n", "ns/rev::" + addr + "::rq_total::3\n", "ns/rev::" + addr + "::health_flags::healthy\n",
		"ns/rev::127.0.0.9:9::health_flags::/failed_eds_health\n", "ns/rev::127.0.0.9:9::priority::1\n",
	} {
		if !strings.Contains(clusters, want) {
			t.Errorf("/clusters lacks %s in\n%s", want, clusters)
		}
	}
	var shape adminv3.Clusters
	if err := protojson.Unmarshal([]byte(strings.TrimPrefix(b.page("/clusters?format=json"), "200 ")), &shape); err != nil {
		t.Fatal(err)
	}
	if len(shape.ClusterStatuses) != 2 || shape.ClusterStatuses[0].Name != "ns/rev" || len(shape.ClusterStatuses[0].HostStatuses) != 2 {
		t.Errorf("/clusters?format=json has %v", &shape)
	}
	dump := b.page("/config_dump?include_eds")
	if !json.Valid([]byte(strings.TrimPrefix(dump, "200 "))) {
		t.Errorf("/config_dump is not JSON: %s", dump)
	}
	for _, want := range []string{
		"ListenersConfigDump", "ClustersConfigDump", "RoutesConfigDump", "EndpointsConfigDump", `"virtual_hosts"`, "active_state",
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("/config_dump lacks %s", want)
		}
	}
	b.stop()
	if got := b.page("/ready"); got != "503 DRAINING\n" {
		t.Errorf("/ready says %q after the end", got)
	}
}

func TestTLSByServerName(t *testing.T) {
	b := start(t, Options{})
	one, two := newCertificate(t, "one.test"), newCertificate(t, "*.two.test")
	b.push(append(backend(t, "a", upstream(t, echo)), tlsListener(t, one, two), routes(t, vhost("h", "*", to(prefix("/"), "a"))))...)
	for name, want := range map[string]string{
		"one.test": "one.test", "x.two.test": "*.two.test", "other.test": "one.test", "": "one.test",
	} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			conn, err := tls.Dial("tcp", b.address("https"), &tls.Config{
				ServerName: name, NextProtos: []string{protocol},
				InsecureSkipVerify: true, //nolint:gosec // the certificate is looked at below
			})
			if err != nil {
				t.Fatal(err)
			}
			state := conn.ConnectionState()
			conn.Close()
			if got := state.PeerCertificates[0].DNSNames[0]; got != want || state.NegotiatedProtocol != protocol {
				t.Errorf("server name %q got the certificate of %s with %s, want %s with %s",
					name, got, state.NegotiatedProtocol, want, protocol)
			}
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(one.chain))
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "one.test", MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}
	defer client.CloseIdleConnections()
	res, err := client.Get("https://" + b.address("https") + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.Proto != "HTTP/2.0" || !strings.Contains(string(body), "X-Forwarded-Proto: https\n") {
		t.Errorf("over %s the upstream saw\n%s", res.Proto, body)
	}
	if dump := b.page("/config_dump"); strings.Contains(dump, "PRIVATE KEY") || !strings.Contains(dump, "[redacted]") {
		t.Error("/config_dump shows a private key")
	}
}

// BenchmarkStatsPage is /stats/prometheus with 10,000 clusters, of which one in a hundred has had a request.
func BenchmarkStatsPage(b *testing.B) {
	g := New(Options{})
	for i := range 10_000 {
		c := &proxy.Cluster{Name: fmt.Sprintf("default/hello-%05d", i)}
		if i%100 == 0 {
			c.Stats.RqTotal.Add(1)
		}
		g.proxy.Clusters.Put(c)
	}
	for _, query := range []string{"", "?usedonly"} {
		b.Run("all"+query, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Admin().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/stats/prometheus"+query, nil))
			}
		})
	}
}
