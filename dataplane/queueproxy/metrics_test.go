package queueproxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/output"
)

func page(p *queueproxy.Proxy) string {
	recorder := httptest.NewRecorder()
	p.Metrics().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return recorder.Body.String()
}

func TestMetricsPage(t *testing.T) {
	finish := make(chan struct{})
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-finish
		}
		w.WriteHeader(map[string]int{"/": 200, "/hang": 200, "/missing": 404, "/broken": 500}[r.URL.Path])
	}))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1})
	c := client(t, model.HTTP1)
	for _, path := range []string{"/", "/", "/missing", "/broken"} {
		get(t, c, "http://"+address+path)
	}
	readiness(p) // does not count
	var hanging sync.WaitGroup
	for range 2 {
		hanging.Go(func() { get(t, c, "http://"+address+"/hang", "K-Proxy-Request", "activator") })
	}
	eventually(t, "one waits", func() bool { return p.Load().Waiting == 1 })
	text := page(p)
	close(finish)
	hanging.Wait()
	for _, want := range []string{
		"sluice_queue_requests_total 6", "sluice_queue_proxied_requests_total 2",
		"sluice_queue_in_flight 2", "sluice_queue_proxied_in_flight 2", "sluice_queue_waiting 1", "sluice_queue_streams 0",
		"sluice_queue_stream_seconds_total 0", "sluice_queue_uptime_seconds 0.", "sluice_queue_concurrency_seconds_total 0.",
		`sluice_queue_request_duration_seconds_bucket{response_code_class="2xx",le="+Inf"} 2`,
		`sluice_queue_request_duration_seconds_count{response_code_class="4xx"} 1`,
		`sluice_queue_request_duration_seconds_count{response_code_class="5xx"} 1`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, `class="3xx"`) {
		t.Error("the page has a class that did not occur")
	}
	if len(text) > 8<<10 {
		t.Errorf("the page has %d bytes", len(text))
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if !strings.Contains(problem.Text, "no help text") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// TestIntegralsAreExact compares the page's counters with what the requests themselves took.
func TestIntegralsAreExact(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(50 * time.Millisecond) }))
	p, address := serve(t, queueproxy.Options{Target: target})
	c := client(t, model.HTTP1)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { get(t, c, "http://"+address, "K-Proxy-Request", map[bool]string{true: "activator"}[i%2 == 0]) })
	}
	all.Wait()
	eventually(t, "nothing is in flight", func() bool { return p.Load().InFlight == 0 })
	l := p.Load()
	if l.Concurrency < 8*0.05 || l.ProxiedConcurrency < 4*0.05 || l.ProxiedConcurrency > l.Concurrency || l.ProxiedRequests != 4 {
		t.Errorf("load %+v", l)
	}
	time.Sleep(time.Millisecond)
	if later := p.Load(); later.Concurrency != l.Concurrency || later.Uptime <= l.Uptime {
		t.Errorf("at rest %+v became %+v", l, later)
	}
}

func TestRequestLog(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ws":
			echoWebSocket(w, r)
		case "/hang":
			hanging(w, r)
		default:
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Sluice-Reason", "forged")
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "short and stout")
		}
	}))
	log := &output.Buffer{}
	p, address := serve(t, queueproxy.Options{
		Target: target, Timeout: roomy, RequestLog: log, Labels: map[string]string{"revision": "hello-00001"},
	})
	c := client(t, model.HTTP1)
	get(t, c, "http://"+address+"/a%2Fb?token=secret", "Authorization", "secret", "Cookie", "secret", "User-Agent", "<curl>",
		"K-Proxy-Request", "activator")
	get(t, c, "http://"+address+"/hang")
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.CloseNow()
	eventually(t, "all are over", func() bool { return p.Load().InFlight == 0 && len(log.Lines()) == 3 })
	readiness(p) // is not logged

	if text := strings.Join(log.Lines(), "\n"); strings.Contains(text, "secret") {
		t.Errorf("the log has secrets: %s", text)
	}
	var got []map[string]any
	for _, text := range log.Lines() {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := time.Parse(time.RFC3339, line["time"].(string)); err != nil || line["seconds"].(float64) <= 0 {
			t.Errorf("%s: %v", text, err)
		}
		delete(line, "time")
		delete(line, "seconds")
		got = append(got, line)
	}
	labels := map[string]any{"revision": "hello-00001"}
	want := []map[string]any{
		{"method": "GET", "host": address, "path": "/a%2Fb", "protocol": "HTTP/1.1", "status": 418.0, "bytes": 15.0,
			"userAgent": "<curl>", "proxied": true, "labels": labels},
		{"method": "GET", "host": address, "path": "/hang", "protocol": "HTTP/1.1", "status": 504.0, "bytes": 16.0,
			"reason": "RequestTimeout", "userAgent": "Go-http-client/1.1", "labels": labels},
		{"method": "GET", "host": address, "path": "/ws", "protocol": "HTTP/1.1", "status": 101.0, "bytes": 0.0,
			"userAgent": "Go-http-client/1.1", "labels": labels},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequestLogHasTheQueryIfConfigured(t *testing.T) {
	target := application(t, greeting())
	log := &output.Buffer{}
	p, address := serve(t, queueproxy.Options{Target: target, RequestLog: log, LogQuery: true})
	get(t, client(t, model.HTTP1), "http://"+address+"/?q="+strings.Repeat("x", 5000))
	eventually(t, "it is over", func() bool { return p.Load().InFlight == 0 })
	if line := log.Lines()[0]; !strings.Contains(line, `"query":"q=xxx`) || len(line) > 2000 {
		t.Errorf("got %d bytes: %s", len(line), line)
	}
}

// TestClientThatGoesAwayIsNoErrorOfTheServer: the application did nothing wrong.
func TestClientThatGoesAwayIsNoErrorOfTheServer(t *testing.T) {
	target := application(t, http.HandlerFunc(hanging))
	p, address := serve(t, queueproxy.Options{Target: target})
	c := client(t, model.HTTP1)
	c.Timeout = 50 * time.Millisecond
	if response, err := c.Get("http://" + address); err == nil {
		response.Body.Close()
		t.Fatal("answered")
	}
	eventually(t, "it is over", func() bool { return p.Load().InFlight == 0 })
	if text := page(p); !strings.Contains(text, `_count{response_code_class="4xx"} 1`) || strings.Contains(text, "5xx") {
		t.Errorf("got %s", text)
	}
}

// BenchmarkMetrics is what one scrape costs the replica.
func BenchmarkMetrics(b *testing.B) {
	p := queueproxy.New(fullOptions(application(b, greeting())))
	for range 10 {
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	handler, r := p.Metrics(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportMetric(float64(len(page(p))), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(&discard{}, r)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (*discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (*discard) WriteHeader(int)             {}
