package queueproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// BenchmarkLatency sends one request at a time: to the application itself, through a bare httputil.ReverseProxy, and
// through the queue-proxy as it is used. What the proxies add is the difference to "direct".
func BenchmarkLatency(b *testing.B) {
	target := application(b, greeting())
	bare := httptest.NewServer(bareProxy(target))
	b.Cleanup(bare.Close)
	_, queue := serve(b, fullOptions(target))
	for _, peer := range []struct{ name, url string }{
		{"direct", "http://" + target}, {"bare", bare.URL}, {"queueproxy", "http://" + queue},
	} {
		b.Run(peer.name, func(b *testing.B) {
			c := client(b, model.HTTP1)
			fetch(b, c, peer.url)
			took := make([]time.Duration, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				fetch(b, c, peer.url)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkThroughput is the same with 16 connections at a time.
func BenchmarkThroughput(b *testing.B) {
	target := application(b, greeting())
	bare := httptest.NewServer(bareProxy(target))
	b.Cleanup(bare.Close)
	_, queue := serve(b, fullOptions(target))
	for _, peer := range []struct{ name, url string }{{"bare", bare.URL}, {"queueproxy", "http://" + queue}} {
		b.Run(peer.name, func(b *testing.B) {
			c := client(b, model.HTTP1)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					fetch(b, c, peer.url)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

// BenchmarkHandler leaves the client's connection out: what the handlers themselves cost beside a round trip.
func BenchmarkHandler(b *testing.B) {
	target := application(b, greeting())
	logging := fullOptions(target)
	logging.RequestLog = io.Discard
	for _, peer := range []struct {
		name    string
		handler http.Handler
	}{
		{"bare", bareProxy(target)}, {"queueproxy", queueproxy.New(fullOptions(target))}, {"request-log", queueproxy.New(logging)},
	} {
		b.Run(peer.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "http://hello.example/", nil)
			b.ReportAllocs()
			for b.Loop() {
				peer.handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

func greeting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Hello World!\n") })
}

func bareProxy(target string) http.Handler {
	u := &url.URL{Scheme: "http", Host: target}
	return &httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { pr.SetURL(u); pr.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: 100},
	}
}

// fullOptions switches on all that costs time.
func fullOptions(target string) queueproxy.Options {
	return queueproxy.Options{
		Target: target, Concurrency: 100, Timeout: 5 * time.Minute, ResponseStart: time.Minute, Idle: time.Minute,
	}
}

func fetch(b *testing.B, c *http.Client, url string) {
	response, err := c.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		b.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Fatalf("got %d", response.StatusCode)
	}
}
