package gateway

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// An integral must say at each reading what adding up by hand says, also when the gateway has been up for years.
func TestIntegralAddsUpRequestSeconds(t *testing.T) {
	const tickTime = time.Duration(1) << tickShift
	for _, up := range []time.Duration{0, time.Hour, 4 * 365 * 24 * time.Hour} {
		var i integral
		var before int64
		var running []time.Duration
		random := rand.New(rand.NewPCG(1, uint64(up)))
		now, over, read := up, time.Duration(0), time.Duration(0)
		for range 20_000 {
			now += time.Duration(random.ExpFloat64() * float64(5*time.Millisecond)).Truncate(tickTime)
			now = now.Truncate(tickTime)
			switch n := random.IntN(10); {
			case n < 5:
				i.begin(now)
				running = append(running, now)
			case n < 9 && len(running) > 0:
				last := len(running) - 1
				pick := random.IntN(len(running))
				over += now - running[pick]
				running[pick] = running[last]
				running = running[:last]
				i.end(now)
			default:
				n, duration := i.read(before, func() time.Duration { return now })
				want := over
				for _, began := range running {
					want += now - began
				}
				read += time.Duration(duration-before) << tickShift
				if before = duration; n != int64(len(running)) || read != want {
					t.Fatalf("up %v: %d running for %v in all, want %d and %v", up, n, read, len(running), want)
				}
			}
		}
	}
}

// What ends a moment before a reading, but is counted after it, makes the duration shrink by that moment.
func TestIntegralTakesABackwardStep(t *testing.T) {
	var i integral
	at := func(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
	i.begin(0)
	i.begin(0)
	_, before := i.read(0, at(10*time.Second))
	i.end(9 * time.Second)
	i.end(9 * time.Second)
	if running, duration := i.read(before, at(10*time.Second)); running != 0 || duration >= before {
		t.Errorf("%d running for %d ticks, before %d", running, duration, before)
	}
}

func TestLoadIsReportedUntilThereIsNone(t *testing.T) {
	var l zoneLoad
	report := func(at time.Duration, want *client.ClusterLoad) {
		t.Helper()
		got, ok := l.report(func() time.Duration { return at })
		if ok != (want != nil) {
			t.Fatalf("at %v: reported is %v: %+v", at, ok, got)
		}
		if diff := cmp.Diff(want, &got, cmpopts.EquateApprox(0, 1e-3)); want != nil && diff != "" {
			t.Errorf("at %v (-want +got):\n%s", at, diff)
		}
	}
	report(time.Second, nil)
	l.begin(1500*time.Millisecond, false)
	l.begin(2*time.Second, true)
	report(3*time.Second, &client.ClusterLoad{Issued: 2, InProgress: 2, Concurrency: 2.5, Streams: 1})
	l.end(3500*time.Millisecond, true, false)
	report(4*time.Second, &client.ClusterLoad{Succeeded: 1, InProgress: 1, Concurrency: 1.5, Streams: 0.5})
	l.end(4*time.Second, false, true)
	report(5*time.Second, &client.ClusterLoad{Failed: 1})
	report(6*time.Second, nil)

	// A request that was sent elsewhere was never here.
	l.begin(6*time.Second, true)
	l.withdraw(6*time.Second, true)
	report(7*time.Second, nil)
	l.begin(7*time.Second, false)
	report(8*time.Second, &client.ClusterLoad{Issued: 1, InProgress: 1, Concurrency: 1})
	l.withdraw(7*time.Second, false)
	report(9*time.Second, &client.ClusterLoad{})
	l.begin(9*time.Second, false)
	l.end(10*time.Second, false, false)
	report(10*time.Second, &client.ClusterLoad{Succeeded: 1, Concurrency: 0}) // makes up for what was told too early
}

func TestLoadByClusterAndZone(t *testing.T) {
	b := start(t, Options{})
	held := make(chan struct{})
	pod := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fail":
			w.WriteHeader(http.StatusBadGateway)
		case "/hold":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-held
		case "/ws":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			_, _, _ = c.Read(r.Context())
		}
	})
	cluster := res(t, gcpresource.ClusterType, "c", newCluster("c"))
	route := routes(t, vhost("h", "*", to(prefix("/"), "c", retries("connect-failure", 2))))
	b.push(plain(t), cluster, endpoints(t, "c", group(0, "pods", pod), group(1, "activator", upstream(t, says("held")))), route)
	is := func(zone string, want client.ClusterLoad) {
		t.Helper()
		b.until("load of "+zone, func() bool {
			return cmp.Equal(b.loads[place{"c", zone}], want, cmpopts.IgnoreFields(client.ClusterLoad{}, "Concurrency", "Streams"))
		})
	}
	sum := func(zone string) client.ClusterLoad {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.loads[place{"c", zone}]
	}
	for range 3 {
		b.get("http://h/").want(t, 200, "")
	}
	b.get("http://h/fail").want(t, 502, "")
	is("pods", client.ClusterLoad{Issued: 4, Succeeded: 3, Failed: 1})
	if before := sum("pods"); before.Concurrency <= 0 || before.Streams != 0 {
		t.Errorf("four requests took %v s, streams %v s", before.Concurrency, before.Streams)
	}

	// One that runs, and streams: a WebSocket and a gRPC call.
	caller := &http.Client{}
	defer caller.CloseIdleConnections()
	hold := func(contentType string) *http.Response {
		req, _ := http.NewRequest(http.MethodPost, "http://"+b.address("http")+"/hold", nil)
		req.Header.Set("Content-Type", contentType)
		res, err := caller.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	plainCall := hold("text/plain")
	defer plainCall.Body.Close()
	is("pods", client.ClusterLoad{Issued: 5, Succeeded: 3, Failed: 1, InProgress: 1})
	if got := sum("pods"); got.Streams != 0 {
		t.Errorf("a plain request counts as a stream: %v s", got.Streams)
	}
	grpcCall := hold("application/grpc")
	defer grpcCall.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+b.address("http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	is("pods", client.ClusterLoad{Issued: 7, Succeeded: 3, Failed: 1, InProgress: 3})
	b.until("stream-seconds", func() bool { l := b.loads[place{"c", "pods"}]; return l.Streams > 0.1 && l.Concurrency > l.Streams })

	// The cluster's endpoints move to another zone and it goes at last: what runs is still told of.
	b.push(endpoints(t, "c", group(0, "pods"), group(1, "activator", upstream(t, says("held")))))
	b.get("http://h/").want(t, 200, "held")
	is("activator", client.ClusterLoad{Issued: 1, Succeeded: 1})
	b.update(resource.Update{Set: []*resource.Resource{routes(t)}, Removed: []*resource.Resource{cluster, endpoints(t, "c")}})
	b.until("the cluster to be forgotten", func() bool { return b.gateway.proxy.clusters.get("c") == nil })
	before := sum("pods").Streams
	b.until("more stream-seconds", func() bool { return b.loads[place{"c", "pods"}].Streams > before })
	close(held)
	_, _ = io.Copy(io.Discard, plainCall.Body)
	_, _ = io.Copy(io.Discard, grpcCall.Body)
	ws.CloseNow()
	is("pods", client.ClusterLoad{Issued: 7, Succeeded: 6, Failed: 1})
	b.until("it to be let go of", func() bool {
		b.gateway.mu.Lock()
		defer b.gateway.mu.Unlock()
		return len(b.gateway.leaving) == 0
	})
}

func TestARetriedRequestCountsWhereItIsAnswered(t *testing.T) {
	b := start(t, Options{})
	b.push(plain(t), res(t, gcpresource.ClusterType, "c", newCluster("c")),
		endpoints(t, "c", group(0, "pods", deadAddress(t)), group(1, "activator", upstream(t, says("held")))),
		routes(t, vhost("h", "*", to(prefix("/no"), "c"), to(prefix("/"), "c", retries("connect-failure", 2)))))
	for range 20 {
		req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader("body"))
		b.do(req).want(t, 200, "held")
	}
	b.get("http://h/no").want(t, 503, resetBefore+"connection failure")
	b.until("load", func() bool {
		return b.loads[place{"c", "activator"}].Succeeded == 20 && b.loads[place{"c", "pods"}].Failed == 1
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if pods := b.loads[place{"c", "pods"}]; pods.Issued != 1 || pods.Succeeded != 0 {
		t.Errorf("what was not answered by pods counts there: %+v", pods)
	}
}

func BenchmarkLoadOfARequest(b *testing.B) {
	p := &proxy{made: time.Now()}
	b.Run("one at a time", func(b *testing.B) {
		var l zoneLoad
		for b.Loop() {
			l.begin(p.since(), false)
			l.end(p.since(), false, false)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		var l zoneLoad
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.begin(p.since(), false)
				l.end(p.since(), false, false)
			}
		})
	})
}

// BenchmarkLoadReport is the gateway's report on 10,000 clusters, of which one in a hundred has something to say.
func BenchmarkLoadReport(b *testing.B) {
	g := New(Options{})
	for i := range 10_000 {
		c := &cluster{name: strings.Repeat("x", 20) + string(rune('a'+i%26)) + time.Duration(i).String()}
		for _, zone := range []string{"pods", "activator"} {
			l := c.zone(zone)
			if i%100 == 0 {
				l.begin(g.proxy.since(), false)
				c.stats.rqActive.Add(1)
			}
		}
		g.proxy.clusters.m.Store(c.name, c)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(g.load()); n != 200 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(math.Round(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000), "ns/cluster")
}
