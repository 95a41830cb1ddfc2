package scrape

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	prom "github.com/prometheus/common/model"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
)

// realPage is what the queue-proxy itself says, after requests of three classes.
func realPage(t testing.TB) []byte {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(map[string]int{"/": 200, "/missing": 404, "/broken": 500}[r.URL.Path])
	}))
	t.Cleanup(app.Close)
	p := queueproxy.New(queueproxy.Options{Target: app.Listener.Addr().String()})
	for _, path := range []string{"/", "/missing", "/broken"} {
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	page := httptest.NewRecorder()
	p.Metrics().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return page.Body.Bytes()
}

func byPrometheus(t testing.TB, page []byte) (r reading) {
	parser := expfmt.NewTextParser(prom.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range figureNames {
		family := families[contract.QueueMetrics+name]
		if family == nil {
			t.Fatalf("no %s%s", contract.QueueMetrics, name)
		}
		r[i] = family.Metric[0].GetGauge().GetValue() + family.Metric[0].GetCounter().GetValue()
	}
	return r
}

func TestParseReadsWhatPrometheusReads(t *testing.T) {
	page := realPage(t)
	got, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(byPrometheus(t, page), got); diff != "" {
		t.Error(diff)
	}
	if got[requests] != 3 || got[concurrency] <= 0 || got[uptime] <= 0 {
		t.Errorf("got %v", got)
	}
}

// text writes a page; values replace those of an idle replica.
func text(values map[int]string) string {
	var page strings.Builder
	for i, name := range figureNames {
		value, given := values[i]
		if !given {
			value = "0"
		}
		page.WriteString("# TYPE " + contract.QueueMetrics + name + " untyped\n" + contract.QueueMetrics + name + " " + value + "\n")
	}
	return page.String()
}

func TestLiesAndGarbageAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ page, want string }{
		"nothing":    {"", "there is no sluice_queue_uptime_seconds, want the page of a queue-proxy"},
		"a web page": {"<html>\nhello\n</html>", "there is no sluice_queue_uptime_seconds, want the page of a queue-proxy"},
		"noise": {strings.Repeat("\x00\xff\n", 1000),
			"there is no sluice_queue_uptime_seconds, want the page of a queue-proxy"},
		"half a page":          {text(nil)[:300], "there is no sluice_queue_concurrency_seconds_total, want the page of a queue-proxy"},
		"not a number":         {text(map[int]string{requests: "many"}), `sluice_queue_requests_total is "many", want a number`},
		"no number":            {text(map[int]string{requests: ""}), `sluice_queue_requests_total is "", want a number`},
		"a timestamp after it": {text(map[int]string{requests: "1 2"}), `sluice_queue_requests_total is "1 2", want a number`},
		"NaN":                  {text(map[int]string{inFlight: "NaN"}), "sluice_queue_in_flight is NaN, want 0 to 1e+09"},
		"infinity":             {text(map[int]string{requests: "+Inf"}), "sluice_queue_requests_total is +Inf, want 0 to 1e+15"},
		"negative":             {text(map[int]string{concurrency: "-1"}), "sluice_queue_concurrency_seconds_total is -1, want 0 to 1e+15"},
		"too much at once":     {text(map[int]string{inFlight: "1e10"}), "sluice_queue_in_flight is 1e+10, want 0 to 1e+09"},
		"twice":                {text(nil) + text(nil), "sluice_queue_uptime_seconds is there twice, want it once"},
		"a part over its whole": {text(map[int]string{inFlight: "3", proxiedInFlight: "4"}),
			"sluice_queue_proxied_in_flight is 4, want at most sluice_queue_in_flight, which is 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(test.page))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text(nil)))
	f.Add([]byte("sluice_queue_in_flight"))
	f.Fuzz(func(t *testing.T, page []byte) {
		if r, err := parse(page); err == nil && r.check() != nil {
			t.Errorf("accepted %v", r)
		}
	})
}

// BenchmarkParse compares with Prometheus' own parser, which reads all of the page.
func BenchmarkParse(b *testing.B) {
	page := realPage(b)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parse(page); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("expfmt", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			byPrometheus(b, page)
		}
	})
}
