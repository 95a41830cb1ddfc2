package envoy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/envoy"
)

func TestStatsOfEnvoysPage(t *testing.T) {
	// As Envoy 1.36 writes it, with a stats tag of a user's own.
	got, err := envoy.ParseStats(strings.NewReader(`# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="default/hello-00001"} 7
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="default/hello-00001"} 12
envoy_cluster_upstream_rq_total{team="a, \"b\"}",envoy_cluster_name="default/hello-00002"} 1
envoy_cluster_upstream_rq_total{envoy_cluster_name="default/hello-00002",team="\\"} 2
# TYPE envoy_cluster_upstream_rq_active gauge
envoy_cluster_upstream_rq_active{envoy_cluster_name="default/hello-00001"} 3
# TYPE envoy_cluster_upstream_rq_pending_active gauge
envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="default/hello-00001"} 2
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="default/hello-00001",le="0.5"} 0
envoy_server_live{} 1
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []envoy.ClusterStats{
		{Cluster: "default/hello-00001", Active: 3, Pending: 2, Total: 12},
		{Cluster: "default/hello-00002", Total: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestImpossibleStatsAreErrors(t *testing.T) {
	const name = `envoy_cluster_upstream_rq_active{envoy_cluster_name="a"} `
	for title, test := range map[string]struct{ page, want string }{
		"nothing":     {"", "want Prometheus text"},
		"a web page":  {"<html>hello</html>", "want Prometheus text"},
		"negative":    {name + "-1\n", "has not a value of 0 to 1000000000"},
		"NaN":         {name + "NaN\n", "has not a value of 0 to 1000000000"},
		"impossible":  {name + "1e10\n", "has not a value of 0 to 1000000000"},
		"words":       {name + "many\n", "has not a value of 0 to 1000000000"},
		"no value":    {name + "\n", "is no line of Prometheus text"},
		"cut off":     {`envoy_cluster_upstream_rq_active{envoy_cluster_name="a`, "is no line of Prometheus text"},
		"no quotes":   {"envoy_cluster_upstream_rq_total{x} 1", "is no line of Prometheus text"},
		"a long line": {"# " + strings.Repeat("x", 100<<10), "token too long"},
	} {
		_, err := envoy.ParseStats(strings.NewReader(test.page))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", title, err, test.want)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\\\"\"} 12\n")
	f.Fuzz(func(t *testing.T, page string) {
		stats, err := envoy.ParseStats(strings.NewReader(page))
		if err != nil && stats != nil {
			t.Error("stats beside an error")
		}
	})
}

// poller returns a poller of an admin interface that is the handler.
func poller(t *testing.T, handler http.HandlerFunc) *envoy.StatsPoller {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	p := envoy.NewStatsPoller(server.Listener.Addr().String())
	t.Cleanup(p.Close)
	return p
}

func TestTwoPollsMakeRates(t *testing.T) {
	total, active := 100, 3
	p := poller(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats/prometheus" || !strings.Contains(r.URL.Query().Get("filter"), "upstream_rq_") {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprintf(w, "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\"} %d\n", total)
		fmt.Fprintf(w, "envoy_cluster_upstream_rq_active{envoy_cluster_name=\"a\"} %d\n", active)
	})
	poll := func() envoy.ClusterLoad {
		t.Helper()
		loads, err := p.Poll(t.Context())
		if err != nil || len(loads) != 1 || loads[0].Cluster != "a" || loads[0].Concurrency != float64(active) {
			t.Fatalf("got %+v, %v", loads, err)
		}
		return loads[0]
	}
	began := time.Now()
	if got := poll(); got.Fresh || got.Requests != 0 {
		t.Errorf("the first poll: %+v", got)
	}
	total, active = 200, 5
	time.Sleep(20 * time.Millisecond)
	if got := poll(); !got.Fresh || got.Requests <= 0 || got.Requests > 100/0.02 || got.Requests < 100/time.Since(began).Seconds() {
		t.Errorf("100 requests in at least 20 ms: %+v", got)
	}
	total = 10
	if got := poll(); got.Fresh || got.Requests != 0 {
		t.Errorf("after a restart: %+v", got)
	}
}

func TestBadAdminInterfacesAreErrors(t *testing.T) {
	for title, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"status":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "got status 404, want 200"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "it redirects"},
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\x00\xff") }, "want Prometheus text"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "envoy_server_live{} 1\n")
		}, "unexpected EOF"},
		"gigabyte": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat("envoy_x{} 1\n", 4<<10))
			for range 1 << 30 / len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "got more than 33554432 bytes"},
	} {
		if loads, err := poller(t, test.handler).Poll(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v; want %s", title, loads, err, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	hang := poller(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if loads, err := hang.Poll(ctx); err == nil {
		t.Errorf("one that hangs: got %v", loads)
	}
}

// TestStatsOfTheBuiltInGateway reads the page of the real one, with requests held.
func TestStatsOfTheBuiltInGateway(t *testing.T) {
	finish := make(chan struct{})
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	t.Cleanup(application.Close)
	listening := make(chan string, 1)
	g := gateway.New(gateway.Options{
		XDS:    serveWorld(t, "127.0.0.1:0", application.Listener.Addr().(*net.TCPAddr).Port).address,
		NodeID: "gateway-1", Drain: time.Second, Listening: func(_, address string) { listening <- address },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p := poller(t, g.Admin().ServeHTTP)
	address := <-listening
	var held sync.WaitGroup
	defer held.Wait()
	defer close(finish)
	for range 5 {
		held.Go(func() {
			r, _ := http.NewRequest(http.MethodGet, "http://"+address, nil)
			r.Host = "hello.default.localhost"
			if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != 200 {
				t.Errorf("got %v, %v", response, err)
			} else {
				response.Body.Close()
			}
		})
	}
	await(t, "five requests are seen", func() bool {
		loads, err := p.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(loads, func(l envoy.ClusterLoad) bool {
			return l.Cluster == "default/hello-00001" && l.Concurrency == 5 && l.Fresh
		})
	})
}

// BenchmarkParseStats reads a page of 1,000 clusters.
func BenchmarkParseStats(b *testing.B) {
	var page strings.Builder
	for _, name := range []string{"total", "active", "pending_active"} {
		for i := range 1000 {
			fmt.Fprintf(&page, "envoy_cluster_upstream_rq_%s{envoy_cluster_name=\"default/hello-%05d\"} %d\n", name, i, i)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envoy.ParseStats(strings.NewReader(page.String())); err != nil {
			b.Fatal(err)
		}
	}
}
