package external

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
)

// asking is a Scaler with a query.
func asking(address, query string) model.Scaler {
	return model.Scaler{
		Key: model.Key{Namespace: "default", Name: "queue"}, Type: model.AverageValue, Target: 5, Every: 50 * time.Millisecond, Most: 100,
		Prometheus: &model.PrometheusQuery{Address: address, Query: query}, Revisions: []model.Named{revision},
	}
}

// startPrometheus runs a Prometheus server that reads the metrics of a target, and returns its URL.
func startPrometheus(t *testing.T, target string) string {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no prometheus on PATH: install Prometheus (apt-get install prometheus) for this test")
	}
	dir, listen := t.TempDir(), address.Free(t)
	config := fmt.Sprintf("scrape_configs:\n- job_name: queue\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n  - "+
		"targets: [%q]\n", target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--log.level=error")
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + listen + "/-/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return "http://" + listen
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("Prometheus does not become ready: %v", err)
		}
	}
}

func TestReplicasFollowARealPrometheus(t *testing.T) {
	var depth atomic.Int64
	depth.Store(12)
	queue := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "queue_depth{list=\"a\"} %d\nqueue_depth{list=\"b\"} 1\n", depth.Load())
	}))
	defer queue.Close()
	at := startPrometheus(t, strings.TrimPrefix(queue.URL, "http://"))
	b := run(t)
	b.Set(asking(at, "sum(queue_depth)"))
	if got := b.awaitCount(3); got.Why != "the query is 13 at a target of 5 per replica" {
		t.Errorf("3 replicas, since %s", got.Why)
	}
	depth.Store(39)
	b.awaitCount(8)
	depth.Store(-1) // and b makes 0: nothing is left
	b.awaitCount(0)
	for query, want := range map[string]string{
		"queue_depth":        "the query returned 2 series, want one",
		"nothing":            "the query returned nothing",
		"vector(0/0)":        "the value of the query is NaN",
		"vector(1/0)":        "the value of the query is +Inf",
		"-1 * vector(3)":     "the value of the query is -3",
		"sum(":               "the query failed: bad_data:",
		"queue_depth[1m]":    "the query returned a matrix, want one number",
		`"text"`:             "the answer is not one number of Prometheus",
		"absent(queue_depth": "the query failed: bad_data:",
	} {
		b.Set(asking(at, query))
		b.awaitProblem(want)
	}
	b.Set(asking(at, "scalar(vector(20))"))
	b.awaitCount(4)
}

// Whatever a server answers, the sentence says it, and tells nothing of the body of an answer that is not Prometheus'.
func TestServersThatAreNoPrometheus(t *testing.T) {
	const secret = "a secret of somebody else"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, http.StatusInternalServerError) },
			"the query failed: server_error: server error: 500"},
		"401": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, http.StatusUnauthorized) },
			"the query failed: client_error: client error: 401"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
			"bad response code 302; redirects are not followed"},
		"a web page": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>"+secret) },
			"the answer is not one of Prometheus"},
		"another JSON": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":"x","result":%q}}`, secret)
		}, "the query failed"},
		"10,000 series": {func(w http.ResponseWriter, _ *http.Request) {
			one := `{"metric":{"i":"1"},"value":[1,"1"]}`
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s%s]}}`, one, strings.Repeat(","+one, 9_999))
		}, "the query returned 10000 series, want one"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 20 { // a gigabyte, if anybody reads it
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
			t.Error("all of an endless answer was read")
		}, "the answer has more than 1048576 bytes"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "the query did not end within 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client goes
				c.answer(w, r)
			}))
			defer s.Close()
			b := run(t)
			b.Set(asking(s.URL, "depth"))
			if got := b.awaitProblem(c.want); strings.Contains(got.Problem, secret) {
				t.Errorf("the status tells what the server answered: %s", got.Problem)
			}
			b.awaitCount(model.UnknownReplicas)
		})
	}
}
