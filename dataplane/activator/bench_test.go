package activator

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/replay"
)

// BenchmarkProxy sends requests over loopback: straight to the replica, through a bare httputil.ReverseProxy, and through the
// activator.
func BenchmarkProxy(b *testing.B) {
	replica := plain(b, says("hello"))
	target := &url.URL{Scheme: "http", Host: addressOf(replica)}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:  transport,
		BufferPool: &replay.Buffers{},
	})
	b.Cleanup(bare.Close)
	a := start(b, Options{})
	a.set(cluster, facts{"concurrency": 100.0, "timeout": 300.0}, addressOf(replica))
	a.get().want(b, 200, "hello")
	for _, c := range []struct{ name, address string }{
		{"direct", addressOf(replica)}, {"reverseproxy", addressOf(bare)}, {"activator", a.activator.Address()},
	} {
		get := func() *http.Request { return addressed(http.MethodGet, c.address, "") }
		b.Run(c.name, func(b *testing.B) { measure(b, &http.Transport{MaxIdleConnsPerHost: 64}, get) })
	}
	post := func() *http.Request { return addressed(http.MethodPost, a.activator.Address(), "a little body") }
	b.Run("activator/POST", func(b *testing.B) { measure(b, &http.Transport{MaxIdleConnsPerHost: 64}, post) })
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	b.Run("activator/POST/h2c", func(b *testing.B) { measure(b, h2c, post) })
}

// addressed makes a request for the revision of cluster, with a body if it is not empty.
func addressed(method, to, body string) *http.Request {
	req, _ := http.NewRequest(method, "http://"+to+"/", strings.NewReader(body)) // the parts are ours
	address(req, cluster)
	return req
}

// measure reports requests per second and latencies over 16 connections, and the processor time of everything in the process:
// the client and the replica are the same for all.
func measure(b *testing.B, transport *http.Transport, request func() *http.Request) {
	b.ReportAllocs()
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var took []time.Duration
	b.SetParallelism(8)
	began, used := time.Now(), processorTime()
	b.RunParallel(func(pb *testing.PB) {
		var mine []time.Duration
		for pb.Next() {
			start := time.Now()
			res, err := client.Do(request())
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
	total, cpu := time.Since(began), processorTime()-used
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(len(took))/total.Seconds(), "req/s")
		b.ReportMetric(float64(cpu.Microseconds())/float64(len(took)), "cpu-µs/req")
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandler compares the work of one request without a client's connection: both talk to the same replica.
func BenchmarkHandler(b *testing.B) {
	replica := plain(b, says("hello"))
	target := &url.URL{Scheme: "http", Host: addressOf(replica)}
	bare := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true},
		BufferPool: &replay.Buffers{},
	}
	a := start(b, Options{})
	a.set(cluster, facts{"concurrency": 100.0, "timeout": 300.0}, addressOf(replica))
	a.get().want(b, 200, "hello")
	for _, c := range []struct {
		name    string
		handler http.Handler
	}{{"reverseproxy", bare}, {"activator", a.activator}} {
		b.Run(c.name, func(b *testing.B) { handle(b, c.handler, http.MethodGet, strings.NewReader("")) })
	}
	b.Run("activator/POST", func(b *testing.B) { handle(b, a.activator, http.MethodPost, strings.NewReader("a little body")) })
}

func handle(b *testing.B, handler http.Handler, method string, body io.ReadSeeker) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = body.Seek(0, io.SeekStart) // it is in memory
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "/", body)
		address(r, cluster)
		handler.ServeHTTP(w, r)
		if w.Code != 200 || !strings.Contains(w.Body.String(), "hello") {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkDecode is an assignment of 100 replicas.
func BenchmarkDecode(b *testing.B) {
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d:8012", i))
	}
	body := marshal(b, assigned(b, cluster, facts{"concurrency": 10.0, "timeout": 300.0}, addresses...))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeAssignment(cluster, body); err != nil {
			b.Fatal(err)
		}
	}
}
