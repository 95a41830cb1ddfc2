package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/xds/client"
)

// manyHosts is a RouteConfiguration as Translate makes it, with n virtual hosts; the one in the middle has a mark.
func manyHosts(t testing.TB, n int, mark string) []byte {
	m := &routev3.RouteConfiguration{Name: "http"}
	for i := range n {
		r := to(prefix("/"), "", weights(fmt.Sprint("default/svc-", i, "-00001"), 70, fmt.Sprint("default/svc-", i, "-00002"), 30))
		for _, c := range r.GetRoute().GetWeightedClusters().Clusters {
			c.RequestHeadersToAdd = headers("Knative-Serving-Revision", c.Name, "Knative-Serving-Namespace", "default")
		}
		vh := vhost(fmt.Sprint("default/svc-", i), fmt.Sprintf("svc-%d.default.example.com svc-%d.default.example.com:*", i, i), r)
		if i == n/2 {
			vh.ResponseHeadersToAdd = headers("x-mark", mark)
		}
		m.VirtualHosts = append(m.VirtualHosts, vh)
	}
	return res(t, resource.RouteType, "http", m).Body
}

// BenchmarkRouteUpdate changes one virtual host of many; unmarshal is what unmarshalling the message alone would cost.
func BenchmarkRouteUpdate(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		bodies := [2][]byte{manyHosts(b, n, "a"), manyHosts(b, n, "b")}
		b.Run(fmt.Sprintf("hosts=%d/first", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := config.CompileRoutes("http", "", bodies[0], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/changed=1", n), func(b *testing.B) {
			b.ReportAllocs()
			table, err := config.CompileRoutes("http", "", bodies[0], nil)
			if err != nil {
				b.Fatal(err)
			}
			for i := 1; b.Loop(); i++ {
				if table, err = config.CompileRoutes("http", "", bodies[i%2], table); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/unmarshal", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(bodies[0], &routev3.RouteConfiguration{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRouteForms changes the routes of one host of many, within a route configuration or as a scope of its own, until requests find
// them. B/change is the size of the message.
func BenchmarkRouteForms(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		bodies := [2][]byte{manyHosts(b, n, "a"), manyHosts(b, n, "b")}
		b.Run(fmt.Sprintf("hosts=%d/inline", n), func(b *testing.B) {
			b.ReportAllocs()
			table, err := config.CompileRoutes("http", "", bodies[1], nil)
			if err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				if table, err = config.CompileRoutes("http", "", bodies[i%2], table); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(bodies[0])), "B/change")
		})
		b.Run(fmt.Sprintf("hosts=%d/scoped", n), func(b *testing.B) {
			b.ReportAllocs()
			s := &scopes{members: map[string]*scope{}, byKey: map[string]*scope{}, tables: &scopeTables{}}
			update := func(set ...client.Resource) {
				changeScopes(b, s, set)
			}
			before, after := hostScopes(b, bodies[0]), hostScopes(b, bodies[1])
			update(before...)
			changes := [2]client.Resource{after[len(after)/2], before[len(before)/2]}
			for i := 0; b.Loop(); i++ {
				update(changes[i%2])
			}
			b.ReportMetric(float64(len(changes[0].Body)), "B/change")
		})
	}
}

// changeScopes has one response change the scopes.
func changeScopes(b *testing.B, s *scopes, set []client.Resource) {
	fresh, err := compileScopes(set)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.change(nil, fresh); err != nil {
		b.Fatal(err)
	}
}

// hostScopes is each host of a route configuration as a scope of its own.
func hostScopes(t testing.TB, body []byte) (set []client.Resource) {
	var m routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	for _, vh := range m.GetVirtualHosts() {
		for _, host := range vh.GetDomains() {
			r := hostScope(t, host, host, 1, vh.GetRoutes()...)
			set = append(set, client.Resource{Name: r.Name, Version: r.Version, Body: r.Body})
		}
	}
	return set
}

func BenchmarkFindHost(b *testing.B) {
	for _, n := range []int{100, 10000} {
		table, err := config.CompileRoutes("http", "", manyHosts(b, n, ""), nil)
		if err != nil {
			b.Fatal(err)
		}
		s := &scopes{members: map[string]*scope{}, byKey: map[string]*scope{}, tables: &scopeTables{}}
		changeScopes(b, s, hostScopes(b, manyHosts(b, n, "")))
		for name, host := range map[string]string{
			"exact": "svc-7.default.example.com", "port": "svc-7.default.example.com:8080", "unknown": "nobody.example.org",
		} {
			b.Run(fmt.Sprintf("hosts=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					table.Hosts.Find(host)
				}
			})
			b.Run(fmt.Sprintf("hosts=%d/%s/scoped", n, name), func(b *testing.B) {
				b.ReportAllocs()
				find := s.tables.source(1)
				for b.Loop() {
					if table := find(host); table != nil {
						table.Hosts.Find(host)
					}
				}
			})
		}
	}
}

// BenchmarkProxy sends requests over loopback: straight to the upstream, through a bare httputil.ReverseProxy, and through
// the gateway with a weighted route and 1,000 virtual hosts.
func BenchmarkProxy(b *testing.B) {
	addr := upstream(b, says("hello"))
	target := &url.URL{Scheme: "http", Host: addr}
	transport := &http.Transport{ // as the gateway's
		DisableCompression: true, MaxIdleConnsPerHost: 1024, ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10,
	}
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport:  transport,
		BufferPool: &replay.Buffers{},
	})
	b.Cleanup(bare.Close)
	g := start(b, Options{})
	const name = "default/svc-7-0000"
	g.push(all(one(plain(b)), backend(b, name+"1", addr), backend(b, name+"2", addr),
		one(raw(resource.RouteType, "http", manyHosts(b, 1000, ""))))...)
	g.get("http://svc-7.default.example.com/").want(b, 200, "hello")
	for _, c := range []struct{ name, address string }{
		{"direct", addr}, {"reverseproxy", bare.Listener.Addr().String()}, {"gateway", g.address("http")},
	} {
		b.Run(c.name, func(b *testing.B) { measure(b, c.address, "svc-7.default.example.com") })
	}
}

// measure reports requests per second and latencies over 16 connections.
func measure(b *testing.B, address, host string) {
	b.ReportAllocs()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var took []time.Duration
	b.SetParallelism(8)
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		var mine []time.Duration
		for pb.Next() {
			start := time.Now()
			req, _ := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
			req.Host = host
			res, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != 200 {
				b.Errorf("status %d", res.StatusCode)
				return
			}
			mine = append(mine, time.Since(start))
		}
		mu.Lock()
		took = append(took, mine...)
		mu.Unlock()
	})
	total := time.Since(began)
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(len(took))/total.Seconds(), "req/s")
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
}
