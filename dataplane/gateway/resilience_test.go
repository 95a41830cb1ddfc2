package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func retries(on string, n uint32) func(*routev3.RouteAction) {
	return func(a *routev3.RouteAction) {
		a.RetryPolicy = &routev3.RetryPolicy{RetryOn: on, NumRetries: wrapperspb.UInt32(n)}
	}
}

func timeout(d time.Duration) func(*routev3.RouteAction) {
	return func(a *routev3.RouteAction) { a.Timeout = durationpb.New(d) }
}

// block responds only when the client has gone.
func block(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestFailuresAnswerAsEnvoyDoes(t *testing.T) {
	b := start(t, Options{})
	reset := upstream(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	slow := upstream(t, block)
	half := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	b.push(all(one(plain(t)), backend(t, "empty"), backend(t, "dead", deadAddress(t)), backend(t, "reset", reset), backend(t, "slow", slow),
		backend(t, "half", half), one(routes(t, vhost("h", "*",
			to(prefix("/missing"), "missing"), to(prefix("/empty"), "empty"), to(prefix("/dead"), "dead", retries("connect-failure", 2)),
			to(prefix("/reset"), "reset", retries("connect-failure", 2)), to(prefix("/slow"), "slow", timeout(30*time.Millisecond)),
			to(prefix("/half"), "half", timeout(time.Second)),
			to(prefix("/idle"), "slow", func(a *routev3.RouteAction) { a.IdleTimeout = durationpb.New(30 * time.Millisecond) }),
			to(prefix("/whole"), "slow", func(a *routev3.RouteAction) {
				a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(30 * time.Millisecond)}
			}),
		))))...)
	for _, c := range []struct {
		path, flags string
		status      int
		body        string
	}{
		{"/missing", "NC", 503, ""},
		{"/empty", "UH", 503, "no healthy upstream"},
		{"/dead", "UF,URX", 503, upstreamReset + "connection failure"},
		{"/reset", "UC", 503, upstreamReset + "connection termination"},
		{"/slow", "UT", 504, "upstream request timeout"},
		{"/idle", "SI", 504, "stream timeout"},
		{"/whole", "DT", 504, "max duration timeout"},
	} {
		got := b.get("http://h" + c.path)
		got.want(t, c.status, c.body)
		if flags := got.Header.Get("X-Envoy-Response-Flags"); flags != c.flags {
			t.Errorf("%s: response flags %q, want %q", c.path, flags, c.flags)
		}
	}
	res, err := noRedirects.Get("http://" + b.address("http") + "/half")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a response that timed out half way ended as if it were whole: %q", body)
	}
}

func TestTheTimeoutCountsFromTheEndOfTheRequest(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	b.push(all(one(plain(t)), backend(t, "count", addr),
		one(routes(t, vhost("h", "*", to(prefix("/"), "count", timeout(time.Second))))))...)
	body, feed := io.Pipe()
	go func() {
		for range 4 { // longer than the timeout in all
			_, _ = io.WriteString(feed, "x")
			time.Sleep(350 * time.Millisecond)
		}
		feed.Close()
	}()
	req, _ := http.NewRequest(http.MethodPost, "http://h/", body)
	b.do(req).want(t, 200, "4")
}

func TestConnectFailuresAreRetriedElsewhere(t *testing.T) {
	b := start(t, Options{})
	good := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	b.push(all(one(plain(t)), backend(t, "mixed", deadAddress(t), deadAddress(t), good),
		one(routes(t, vhost("h", "*", to(prefix("/no"), "mixed"),
			to(prefix("/"), "mixed", retries("connect-failure,refused-stream,reset-before-request", 2))))))...)
	for range 50 {
		req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader("body"))
		b.do(req).want(t, 200, "body")
	}
	failed := 0
	for range 30 {
		if b.get("http://h/no").StatusCode == 503 {
			failed++
		}
	}
	if failed != 20 {
		t.Errorf("without a retry policy %d of 30 failed, want 20 (round robin over two dead ones of three)", failed)
	}
}

// A request that an application may have seen must not be sent again.
func TestResetsAreNotRetried(t *testing.T) {
	b := start(t, Options{})
	var seen atomic.Int32
	reset := upstream(t, func(http.ResponseWriter, *http.Request) { seen.Add(1); panic(http.ErrAbortHandler) })
	b.push(all(one(plain(t)), backend(t, "reset", reset),
		one(routes(t, vhost("h", "*", to(prefix("/"), "reset", retries("connect-failure,refused-stream,reset-before-request", 3))))))...)
	req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader("body"))
	b.do(req).want(t, 503, upstreamReset+"connection termination")
	if n := seen.Load(); n != 1 {
		t.Errorf("the upstream saw the request %d times, want once", n)
	}
}

func TestPrioritiesFallThrough(t *testing.T) {
	b := start(t, Options{})
	pod, activator := upstream(t, says("pod")), upstream(t, says("activator"))
	cluster := res(t, resource.ClusterType, "c", newCluster("c"))
	b.push(plain(t), cluster, endpoints(t, "c", group(0, "pods", pod), group(1, "activator", activator)),
		routes(t, vhost("h", "*", to(prefix("/"), "c", retries("connect-failure", 2)))))
	ask := func(want string) {
		t.Helper()
		for range 10 {
			b.get("http://h/").want(t, 200, want)
		}
	}
	ask("pod")
	for _, health := range []corev3.HealthStatus{corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT} {
		sick := group(0, "pods", pod)
		sick.LbEndpoints[0].HealthStatus = health
		b.push(endpoints(t, "c", sick, group(1, "activator", activator)))
		ask("activator")
	}
	b.push(endpoints(t, "c", group(0, "pods"), group(1, "activator", activator)))
	ask("activator")
	b.push(endpoints(t, "c", group(0, "activator", activator)))
	ask("activator")
	degraded := group(0, "pods", pod)
	degraded.LbEndpoints[0].HealthStatus = corev3.HealthStatus_DEGRADED
	b.push(endpoints(t, "c", degraded, group(1, "activator", activator)))
	ask("pod")
	// The pods have gone, but their endpoints have not: the retry falls through too.
	b.push(endpoints(t, "c", group(0, "pods", deadAddress(t)), group(1, "activator", activator)))
	ask("activator")
	b.push(endpoints(t, "c", group(0, "pods", deadAddress(t), deadAddress(t), deadAddress(t), deadAddress(t), deadAddress(t)),
		group(1, "activator", activator)))
	ask("activator")
	// A priority with one good endpoint left still comes first.
	b.push(endpoints(t, "c", group(0, "pods", deadAddress(t), pod), group(1, "activator", activator)))
	ask("pod")
	b.push(endpoints(t, "c"))
	b.get("http://h/").want(t, 503, "no healthy upstream")
}

func TestLoadIsBalanced(t *testing.T) {
	b := start(t, Options{})
	addresses := make([]string, 4)
	for i := range addresses {
		addresses[i] = upstream(t, says(fmt.Sprint(i)))
	}
	for policy, bounds := range map[clusterv3.Cluster_LbPolicy][2]int{
		clusterv3.Cluster_ROUND_ROBIN: {100, 100}, clusterv3.Cluster_LEAST_REQUEST: {50, 150}, clusterv3.Cluster_RANDOM: {50, 150},
	} {
		c := newCluster("c")
		c.LbPolicy = policy
		b.push(plain(t), res(t, resource.ClusterType, "c", c), endpoints(t, "c", group(0, "z", addresses...)),
			routes(t, vhost("h", "*", to(prefix("/"), "c"))))
		counts := map[string]int{}
		for range 400 {
			counts[b.get("http://h/").body]++
		}
		for i := range addresses {
			if n := counts[fmt.Sprint(i)]; n < bounds[0] || n > bounds[1] {
				t.Errorf("%s: endpoint %d got %d of 400 requests, want %d to %d", policy, i, n, bounds[0], bounds[1])
			}
		}
	}
	heavy, light := group(0, "a", addresses[0]), group(0, "b", addresses[1:]...)
	heavy.LoadBalancingWeight = wrapperspb.UInt32(3)
	light.LbEndpoints[0].LoadBalancingWeight = wrapperspb.UInt32(8)
	b.push(endpoints(t, "c", heavy, light))
	counts := map[string]int{}
	for range 2000 {
		counts[b.get("http://h/").body]++
	}
	if n := counts["0"]; n < 1380 || n > 1620 {
		t.Errorf("a locality with three quarters of the weight got %d of 2000 requests", n)
	}
	if n := counts["1"]; n < 320 || n > 480 {
		t.Errorf("an endpoint with 80 percent of a quarter got %d of 2000 requests", n)
	}
}

func TestASlowLorisIsCutOff(t *testing.T) {
	b := start(t, Options{})
	b.push(plain(t, func(m *hcmv3.HttpConnectionManager) { m.RequestHeadersTimeout = durationpb.New(50 * time.Millisecond) }), routes(t))
	conn, err := net.Dial("tcp", b.address("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestResponsesThatAskForAnotherAttemptAreRetriedElsewhere(t *testing.T) {
	b := start(t, Options{})
	seen := &atomic.Int64{}
	unsent := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen.Add(1)
		w.Header().Set("Sluice-Reason", "Unsent")
		http.Error(w, "not here", http.StatusServiceUnavailable)
	})
	good := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	on := func(keywords string) func(*routev3.RouteAction) {
		return func(a *routev3.RouteAction) {
			retries(keywords, 2)(a)
			a.RetryPolicy.RetriableHeaders = []*routev3.HeaderMatcher{{
				Name:                 "sluice-reason",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "Unsent"}, //nolint:staticcheck // still the API's
			}}
		}
	}
	b.push(all(one(plain(t)), backend(t, "mixed", unsent, good), backend(t, "none", unsent), one(routes(t, vhost("h", "*",
		to(prefix("/none"), "none", on("retriable-headers")), to(prefix("/off"), "none", on("connect-failure")),
		to(prefix("/"), "mixed", on("connect-failure,retriable-headers"))))))...)
	for range 20 {
		req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader("body"))
		b.do(req).want(t, 200, "body")
		b.get("http://h/").want(t, 200, "")
	}
	for path, attempts := range map[string]int64{"/none": 3, "/off": 1} {
		seen.Store(0)
		got := b.get("http://h" + path)
		if got.want(t, 503, "not here\n"); got.Header.Get("Sluice-Reason") != "Unsent" || seen.Load() != attempts {
			t.Errorf("%s: %d attempts, want %d, and the last response as it is: %v", path, seen.Load(), attempts, got.Header)
		}
	}
}
