package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// pages serves a handler on loopback and returns its URL.
func pages(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func plain(page string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", queueproxy.MetricsContentType)
		_, _ = io.WriteString(w, page)
	}
}

func target(name string, urls ...string) Target {
	t := Target{Revision: model.Key{Namespace: "default", Name: name}, UID: "uid-" + name, Window: time.Minute}
	for _, url := range urls {
		t.Replicas = append(t.Replicas, model.Scrape{URL: url, Since: time.Now().Add(-time.Hour)})
	}
	return t
}

func scraper(t testing.TB, opts Options) *Scraper {
	t.Helper()
	s := New(opts)
	t.Cleanup(func() { s.Wait(); s.Close() })
	return s
}

// round scrapes and waits for all results.
func round(t testing.TB, s *Scraper, targets ...Target) map[string]Result {
	t.Helper()
	var mu sync.Mutex
	results := map[string]Result{}
	s.Scrape(t.Context(), targets, func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := results[r.Revision.Name]; twice {
			t.Errorf("%s is reported twice", r.Revision)
		}
		results[r.Revision.Name] = r
	})
	s.Wait()
	return results
}

// TestLoadOfRealQueueProxies holds requests in two of them and compares.
func TestLoadOfRealQueueProxies(t *testing.T) {
	finish := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	defer app.Close()
	var urls, fronts []string
	for range 2 {
		p := queueproxy.New(queueproxy.Options{Target: app.Listener.Addr().String()})
		front := httptest.NewServer(p)
		t.Cleanup(front.Close)
		fronts = append(fronts, front.URL)
		urls = append(urls, pages(t, p.Metrics().ServeHTTP))
	}
	s := scraper(t, Options{})
	idle := round(t, s, target("a", urls...))["a"]
	if !idle.OK || idle.Concurrency != 0 || idle.UID != "uid-a" || idle.At.IsZero() {
		t.Errorf("idle: %+v", idle)
	}
	var held sync.WaitGroup
	for i := range 6 {
		held.Go(func() {
			r, _ := http.NewRequest(http.MethodGet, fronts[i%2], nil)
			if i == 0 {
				r.Header.Set("K-Proxy-Request", "activator")
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
	}
	defer held.Wait()
	defer close(finish)
	var got Result
	for deadline := time.Now().Add(2 * time.Minute); got.Concurrency < 5.9; time.Sleep(5 * time.Millisecond) {
		if got = round(t, s, target("a", urls...))["a"]; time.Now().After(deadline) {
			t.Fatalf("the load never came to 6 requests, one of them proxied: %+v", got)
		}
	}
	if !got.OK || got.Concurrency > 6.1 || got.ProxiedConcurrency < 0.9 || got.ProxiedConcurrency > 1.1 {
		t.Errorf("got %+v, want 6 requests, one of them proxied", got)
	}
}

func TestASampleStandsForAll(t *testing.T) {
	var asked atomic.Int64
	url := pages(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		plain(text(map[int]string{uptime: "100", inFlight: "3", requests: "200"}))(w, r)
	})
	var urls []string
	for i := range 50 {
		urls = append(urls, fmt.Sprint(url, "/", i))
	}
	got := round(t, scraper(t, Options{}), target("many", urls...))["many"]
	if !got.OK || got.Concurrency != 150 || got.Requests != 100 {
		t.Errorf("got %+v, want 150 requests in flight and 100 a second", got)
	}
	if asked.Load() != 12 {
		t.Errorf("%d replicas were asked, want 12", asked.Load())
	}
}

func TestAFailureAsksTheNext(t *testing.T) {
	good := pages(t, plain(text(map[int]string{uptime: "100", inFlight: "2"})))
	bad := pages(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	s := scraper(t, Options{})
	// Four of five are asked, so one may fail.
	got := round(t, s, target("one more", good+"/1", bad, good+"/2", good+"/3", good+"/4"), target("short", good+"/5", bad, good+"/6"),
		target("none"))
	if r := got["one more"]; !r.OK || r.Concurrency != 10 {
		t.Errorf("with one replica more than the sample: %+v", r)
	}
	want := "scraping default/short: no replica is left to ask: asking " + bad + ": got status 500, want 200"
	if r := got["short"]; r.OK || r.Err == nil || r.Err.Error() != want || r.Concurrency != 0 {
		t.Errorf("without: %+v\nwant %s", r, want)
	}
	if len(got) != 2 {
		t.Errorf("got %v, want nothing of a revision without replicas", got)
	}
}

func TestBadPagesHarmTheirOwnRevisionOnly(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	endless := func(head string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", queueproxy.MetricsContentType)
			chunk := []byte(head + strings.Repeat("x", 32<<10) + "\n")
			for n := 0; n < 1<<30; n += len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", queueproxy.MetricsContentType)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "#")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
	var strayed atomic.Bool
	elsewhere := pages(t, func(http.ResponseWriter, *http.Request) { strayed.Store(true) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	good := plain(text(map[int]string{uptime: "100", inFlight: "1"}))
	bad := map[string]struct{ url, want string }{
		"hangs":    {pages(t, hang), "context deadline exceeded"},
		"deaf":     {"http://" + deaf.Addr().String(), "context deadline exceeded"},
		"drips":    {pages(t, drip), "context deadline exceeded"},
		"gigabyte": {pages(t, endless("")), "got more than 262144 bytes"},
		"comments": {pages(t, endless("# ")), "got more than 262144 bytes"},
		"garbage":  {pages(t, plain("\x00\x01{{{")), "there is no sluice_queue_uptime_seconds"},
		"html": {pages(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }),
			`got "text/html; charset=utf-8", want Prometheus text`},
		"lies": {pages(t, plain(text(map[int]string{inFlight: "-3"}))), "sluice_queue_in_flight is -3, want 0 to"},
		"redirects": {pages(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) }),
			"it redirects"},
		"forbidden": {pages(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), "got status 403, want 200"},
		"refused":   {"http://" + closed.Addr().String(), "connection refused"},
		"no URL":    {"::", "missing protocol scheme"},
		"scheme":    {"gopher://example", "unsupported protocol scheme"},
		"not HTTP":  {notHTTP(t), "malformed HTTP"},
		"header": {pages(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }),
			"server response headers exceeded"},
	}
	targets := []Target{target("good", pages(t, good))}
	for name, b := range bad {
		targets = append(targets, target(name, b.url))
	}
	s := scraper(t, Options{Timeout: time.Second})
	for range 2 { // the second meets the connections that the first left
		got := round(t, s, targets...)
		if r := got["good"]; !r.OK || r.Concurrency != 1 {
			t.Errorf("good: %+v", r)
		}
		for name, b := range bad {
			if r := got[name]; r.OK || r.Err == nil || !strings.Contains(r.Err.Error(), b.want) {
				t.Errorf("%s: got %v, want %s", name, r.Err, b.want)
			}
		}
	}
	if strayed.Load() {
		t.Error("a redirect was followed")
	}
}

func notHTTP(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(conn, "SSH-2.0-x\r\n")
			_ = conn.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestSlowReplicasDelayNobodyElse: more of them hang than are asked at a time, and the others are answered meanwhile,
// round after round.
func TestSlowReplicasDelayNobodyElse(t *testing.T) {
	release := make(chan struct{})
	hang := pages(t, func(http.ResponseWriter, *http.Request) { <-release })
	good := pages(t, plain(text(map[int]string{uptime: "100"})))
	var targets []Target
	for i := range 20 {
		targets = append(targets, target(fmt.Sprint("slow-", i), fmt.Sprint(hang, "/", i)))
	}
	for i := range 20 {
		targets = append(targets, target(fmt.Sprint("good-", i), fmt.Sprint(good, "/", i)))
	}
	s := scraper(t, Options{Parallel: 4, Timeout: time.Minute})
	ctx, cancel := context.WithCancelCause(t.Context())
	results := make(chan Result, 100)
	for n := range 3 {
		s.Scrape(ctx, targets, func(r Result) { results <- r })
		for range 20 {
			if r := <-results; !r.OK || !strings.HasPrefix(r.Revision.Name, "good") {
				t.Errorf("round %d: %+v", n, r)
			}
		}
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
			s.mu.Lock()
			busy := len(s.busy)
			s.mu.Unlock()
			if busy == 20 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d revisions are busy, want the 20 slow ones", busy)
			}
		}
	}
	gone := errors.New("the loop has ended")
	cancel(gone)
	s.Wait()
	close(release)
	for range 20 {
		if r := <-results; r.OK || !errors.Is(r.Err, context.Canceled) && !errors.Is(r.Err, gone) {
			t.Errorf("at the end: %+v", r)
		}
	}
	if len(results) != 0 {
		t.Errorf("%d results too many", len(results))
	}
}

func TestWhatIsNoLongerNamedIsForgotten(t *testing.T) {
	good := pages(t, plain(text(map[int]string{uptime: "100"})))
	s := scraper(t, Options{})
	round(t, s, target("a", good+"/1", good+"/2"), target("b", good+"/3"))
	round(t, s, target("a", good+"/2"))
	var left []string
	for url := range s.replicas {
		left = append(left, url)
	}
	if diff := cmp.Diff([]string{good + "/2"}, left); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkRound scrapes 1,000 revisions of one replica each, over as many connections as are kept, from servers in the
// same process: the figure per replica contains what the server does.
func BenchmarkRound(b *testing.B) {
	p := queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"})
	handler := p.Metrics().ServeHTTP
	var targets []Target
	for i := range 1000 {
		targets = append(targets, target(fmt.Sprint("r", i), pages(b, handler)))
	}
	s := scraper(b, Options{})
	one := func() {
		for name, r := range round(b, s, targets...) {
			if !r.OK {
				b.Fatalf("%s: %v", name, r.Err)
			}
		}
	}
	one()
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N*len(targets)), "cpu-ns/replica")
}

// cpu is the time that this process has had on a processor, which a busy machine does not falsify as it does the clock.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
