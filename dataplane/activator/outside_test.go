package activator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
	"sluice.dev/sluice/xds/resource"
)

// What is internal to the platform means nothing from a client.
func TestClientsCannotSpeakAsThePlatform(t *testing.T) {
	b := start(t, Options{})
	seen := make(chan http.Header, 1)
	b.set(cluster, nil, addressOf(plain(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })))
	for name, c := range clients(t) {
		for _, header := range [][]string{
			{"K-Network-Probe", "activator"}, {"K-Network-Probe", "probe", "K-Network-Hash", "abc"}, {"K-Kubelet-Probe", "yes"},
			{"K-Original-Host", "other.example"}, {"User-Agent", "kube-probe/1.37"}, {"K-Proxy-Request", "forged"},
		} {
			do(c, b.request(http.MethodGet, "/healthz", nil, header...)).want(t, 200, "")
			got := <-seen
			for _, internal := range contract.InternalHeaders {
				if values := got[internal]; internal != contract.ProxyHeader && values != nil || slices.Contains(values, "forged") {
					t.Errorf("%s: the replica got %s: %q", name, internal, values)
				}
			}
		}
	}
}

// A queue-proxy believes a sender with the token, which applications do not get.
func TestActivatorProvesToQueueProxiesWhatItIs(t *testing.T) {
	b := start(t, Options{})
	seen := make(chan []string, 1)
	replica := addressOf(plain(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header[contract.ProxyHeader] }))
	b.set(cluster, nil, replica)
	want := func(want ...string) {
		t.Helper()
		for name, c := range clients(t) {
			do(c, b.request(http.MethodGet, "/", nil)).want(t, 200, "")
			if diff := cmp.Diff(want, <-seen); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	want("activator")
	secret := func(text string) []byte {
		return marshal(t,
			&tlsv3.Secret{Name: contract.ActivatorSecret, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
				Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
			}}})
	}
	b.server.Apply(resource.Update{Set: []*resource.Resource{{
		Type: resource.SecretType, Name: contract.ActivatorSecret, Version: "1", Body: secret("xyz"), Roles: contract.RoleActivator,
	}}})
	eventually(t, "the token has come", func() bool { return b.activator.signer.Load() != nil })
	want(contract.NewSigner("xyz").ProxyProof("default", "hello-00001"))
	if err := b.activator.takeToken(contract.ActivatorSecret, secret("")); err == nil || strings.Contains(err.Error(), "xyz") {
		t.Errorf("an empty one: %v", err)
	}
	want(contract.NewSigner("xyz").ProxyProof("default", "hello-00001"))
	b.set(cluster, facts{"direct": true}, replica)
	eventually(t, "the application to get no proof", func() bool {
		do(b.client, b.request(http.MethodGet, "/", nil)).want(t, 200, "")
		return <-seen == nil
	})
}

func TestBadRequests(t *testing.T) {
	b := start(t, Options{Limits: Limits{Headers: 20}})
	for _, names := range [][2]string{{"", ""}, {"default", ""}, {"", "hello"}, {"a/b", "hello"}, {"default", "*"},
		{"default", strings.Repeat("x", 300)}} {
		req := b.request(http.MethodGet, "/", nil)
		req.Header.Set("Knative-Serving-Namespace", names[0])
		req.Header.Set("Knative-Serving-Revision", names[1])
		do(b.client, req).want(t, 400, "must name a revision")
	}
	req := b.request(http.MethodGet, "/", nil)
	for i := range 20 {
		req.Header.Set(fmt.Sprint("X-", i), "x")
	}
	do(b.client, req).want(t, 431, "too many request headers")
	if n := b.activator.Stats().Revisions; n != 0 {
		t.Errorf("%d revisions are followed", n)
	}
}

func TestInvalidAssignmentIsRejectedWithTheReason(t *testing.T) {
	b := start(t, Options{})
	good := addressOf(plain(t, says("good")))
	b.set(cluster, nil, good)
	b.get().want(t, 200, "good")
	for want, change := range map[string]func(*endpointv3.ClusterLoadAssignment){
		`endpoints[0].locality.zone is "activator"`: func(m *endpointv3.ClusterLoadAssignment) {
			m.Endpoints[0].Locality.Zone = "activator"
		},
		`concurrency: is 1.5; it must be a whole number`:      set("concurrency", 1.5),
		`concurrency: must be a number that is not negative`:  set("concurrency", -1.0),
		`timeout: must be a number`:                           set("timeout", "5s"),
		`activators: [0] is "x"; it must be host:port`:        set("activators", []any{"x"}),
		`activators: must be a list`:                          set("activators", 5.0),
		`failure: must be an object with a reason`:            set("failure", "broken"),
		`start: ready is "soon"; it must be unix nanoseconds`: set("start", map[string]any{"ready": "soon"}),
		`lb_endpoints[0]: address "localhost" must be an IP address`: func(m *endpointv3.ClusterLoadAssignment) {
			m.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().Address = "localhost"
		},
	} {
		m := assigned(t, cluster, facts{}, "127.0.0.1:1")
		change(m)
		b.mu.Lock()
		had := len(b.nacks)
		b.mu.Unlock()
		b.raw(m)
		b.until("a NACK", func() bool { return len(b.nacks) > had })
		if text := b.nacks[had].Text; !strings.Contains(text, want) || !strings.Contains(text, cluster) {
			t.Errorf("refused with %q, want %q", text, want)
		}
		b.get().want(t, 200, "good")
		b.set(cluster, nil, good) // one bad assignment after the other would be made to wait
	}
	b.set(cluster, facts{"future": "field"}, addressOf(plain(t, says("new"))))
	eventually(t, "the good assignment", func() bool { return b.get().body == "new" })
}

func set(name string, v any) func(*endpointv3.ClusterLoadAssignment) {
	return func(m *endpointv3.ClusterLoadAssignment) {
		value, err := structpb.NewValue(v)
		if err != nil {
			panic(err)
		}
		m.Endpoints[0].Metadata.FilterMetadata["sluice.dev"].Fields[name] = value
	}
}

// Until the next report what waited counts as if it had been there all the time.
func TestLoadIsReportedOnceMoreWhenNoRequestWaitsAnyMore(t *testing.T) {
	b := startAsked(t, Options{}, time.Hour)
	b.set(cluster, nil)
	late := b.later(b.request(http.MethodGet, "/", nil))
	b.until("a report of the waiting request", func() bool { return len(b.loads) > 0 && b.loads[len(b.loads)-1].Waiting == 1 })
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	await(t, late).want(t, 200, "hello")
	b.until("a report that none waits", func() bool {
		last := b.loads[len(b.loads)-1]
		return last.Waiting == 0 && last.InProgress == 0
	})
}

func TestLoadIsReportedAtOnceWhenARequestBeginsToWait(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil)
	late := b.later(b.request(http.MethodGet, "/", nil))
	b.until("a report of the waiting request", func() bool {
		for _, l := range b.loads {
			if l.Cluster == cluster && l.Zone == "pods" && l.InProgress == 1 && l.Waiting == 1 && l.Issued == 1 {
				return true
			}
		}
		return false
	})
	b.until("many reports while it waits", func() bool { return len(b.loads) >= 5 })
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	await(t, late).want(t, 200, "hello")
	b.until("the end", func() bool {
		var issued, succeeded uint64
		var seconds float64
		for _, l := range b.loads {
			issued, succeeded, seconds = issued+l.Issued, succeeded+l.Succeeded, seconds+l.Concurrency
		}
		return issued == 1 && succeeded == 1 && seconds > 0.1 && b.loads[len(b.loads)-1].InProgress == 0
	})
}

func TestServerTimingHasThePartsOfAColdStart(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil)
	address := addressOf(plain(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server-Timing", "app;dur=1") }))
	arrived := time.Now()
	late := b.later(b.request(http.MethodGet, "/", nil, "Sluice-Timing", "1"))
	b.waiting(1)
	b.known()
	at := func(d time.Duration) string { return strconv.FormatInt(arrived.Add(d).UnixNano(), 10) }
	time.Sleep(60 * time.Millisecond) // so that the moments are in the past
	b.set(cluster, facts{"start": map[string]any{"asked": at(20 * time.Millisecond), "started": at(30 * time.Millisecond),
		"ready": at(50 * time.Millisecond)}}, address)
	timing := await(t, late).Header.Values("Server-Timing")
	if len(timing) != 2 {
		t.Fatalf("Server-Timing: %q", timing)
	}
	parts := map[string]float64{}
	for _, m := range regexp.MustCompile(`(\w+);dur=([\d.]+)`).FindAllStringSubmatch(timing[1]+timing[0], -1) {
		parts[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	sum := parts["decide"] + parts["start"] + parts["ready"] + parts["endpoints"] + parts["dispatch"]
	if parts["start"] != 10 || parts["ready"] != 20 || sum-parts["activate"] > 0.0005 || parts["activate"]-sum > 0.0005 ||
		parts["endpoints"] < 9 {
		t.Errorf("%v sum up to %v", timing, sum)
	}
	warm := b.get("Sluice-Timing", "1").Header.Values("Server-Timing")
	if len(warm) != 2 || strings.Contains(warm[0]+warm[1], "decide") || !strings.Contains(warm[0]+warm[1], "activate;dur=") {
		t.Errorf("without a cold start: %q", warm)
	}
	if got := b.get().Header.Values("Server-Timing"); len(got) != 1 {
		t.Errorf("unasked: %q", got)
	}
}

func TestPartsOfAColdStartAreClamped(t *testing.T) {
	zero := time.Unix(1000, 0)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		moments [4]time.Time
		want    string
	}{
		{[4]time.Time{at(1), at(3), at(6), at(8)},
			"activate;dur=10.000, decide;dur=1.000, start;dur=2.000, ready;dur=3.000, endpoints;dur=2.000, dispatch;dur=2.000"},
		{[4]time.Time{},
			"activate;dur=10.000, decide;dur=0.000, start;dur=0.000, ready;dur=0.000, endpoints;dur=0.000, dispatch;dur=10.000"},
		{[4]time.Time{at(-5), at(20), at(4), at(4)},
			"activate;dur=10.000, decide;dur=0.000, start;dur=10.000, ready;dur=0.000, endpoints;dur=0.000, dispatch;dur=0.000"},
	} {
		if got := divide(zero, at(10), c.moments).serverTiming(true); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := start(t, Options{})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b.activator.Collector())
	b.set(cluster, nil)
	late := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.known()
	if got := sample(t, registry, "sluice_activator_queue_depth"); got != 1 {
		t.Errorf("queue depth %v", got)
	}
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	await(t, late).want(t, 200, "hello")
	eventually(t, "the revision to be left out when it is idle",
		func() bool { return sample(t, registry, "sluice_activator_requests_in_flight") == -1 })
	got := map[string]float64{}
	for _, name := range []string{"cold_starts_total", "dispatched_total", "retried_total", "revisions"} {
		got[name] = sample(t, registry, "sluice_activator_"+name)
	}
	if diff := cmp.Diff(map[string]float64{"cold_starts_total": 1, "dispatched_total": 1, "retried_total": 0, "revisions": 1},
		got); diff != "" {
		t.Error(diff)
	}
}

// sample is the first value of a metric, -1 if it has none.
func sample(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return -1
}

func TestIdleRevisionsAreUnsubscribed(t *testing.T) {
	b := start(t, Options{Limits: Limits{Revisions: 2}})
	address := addressOf(plain(t, says("hello")))
	names := []string{"default/a", "default/b", "default/c"}
	for range 3 {
		for _, name := range names {
			b.set(name, nil, address)
			req := b.request(http.MethodGet, "/", nil)
			req.Header.Set("Knative-Serving-Revision", strings.TrimPrefix(name, "default/"))
			do(b.client, req).want(t, 200, "hello")
		}
	}
	if n := b.activator.Stats().Revisions; n > 2 {
		t.Errorf("%d revisions are followed", n)
	}
	b.activator.revisions.sweep(0, 0)
	if n := b.activator.Stats().Revisions; n != 0 {
		t.Errorf("%d revisions are followed after all were idle", n)
	}
	b.set(cluster, nil)
	held := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.activator.revisions.sweep(0, 0)
	b.set(cluster, nil, address)
	await(t, held).want(t, 200, "hello")
}

func TestDrainServesLateRequestsAndLosesNone(t *testing.T) {
	b := start(t, Options{Quiet: 300 * time.Millisecond})
	release := make(chan struct{})
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "served")
	})))
	b.until("its address", func() bool { return len(b.nodes) == 1 && b.nodes[0].Address == b.activator.Address() })
	slow := b.later(b.request(http.MethodGet, "/slow", nil))
	eventually(t, "the slow request", func() bool { return b.activator.inFlight.Load() == 1 })
	stopped := make(chan struct{})
	go func() { b.stop(); close(stopped) }()
	b.until("its retirement", func() bool { return len(b.nodes) == 1 && b.nodes[0].Address == "" })
	a := b.get()
	a.want(t, 200, "served")
	if !a.Close {
		t.Error("a draining activator keeps its connections")
	}
	close(release)
	await(t, slow).want(t, 200, "served")
	b.get().want(t, 200, "served")
	<-stopped
	if a := b.get(); a.err == nil {
		t.Errorf("after the drain: %v", a)
	}
}

func TestDrainIsBounded(t *testing.T) {
	b := start(t, Options{Drain: 100 * time.Millisecond})
	b.set(cluster, nil)
	held := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.stop()
	a := await(t, held)
	a.want(t, 503, "shutting down")
	if a.Header.Get(contract.ReasonHeader) != contract.ReasonShuttingDown || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", a)
	}
}

func TestReconnectsToAControlPlaneThatWasAway(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	b.get().want(t, 200, "hello")
	b.server.Close() // what is known stays in force
	for range 10 {
		b.get().want(t, 200, "hello")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req := b.request(http.MethodGet, "/", nil).WithContext(ctx)
	req.Header.Set("Knative-Serving-Revision", "other")
	if a := do(b.client, req); a.err == nil {
		t.Errorf("a revision of which nobody says anything: %v", a)
	}
}

func TestUnknownRevisionsAndHostsAreWaitedForWhileTheControlPlaneIsAway(t *testing.T) {
	b := startForGRPC(t)
	b.get().want(t, 404, "no such revision")
	b.server.Close()
	eventually(t, "the activator is alone", func() bool { return b.activator.connectedSince().IsZero() })
	b.client.Timeout = 3 * dispatch.UnknownPatience / 2
	for name, ask := range map[string]func() answer{
		"a revision": func() answer { return b.get() },
		"a host":     func() answer { return b.call("hello.default.localhost") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a := ask(); !os.IsTimeout(a.err) {
				t.Errorf("it did not wait: %v", a)
			}
		})
	}
}
