package feature

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// admined reads a page of the admin address.
func (s *instance) admined(path string) (int, string, error) {
	return read(http.DefaultClient, "http://"+s.admin+path)
}

// read returns the status and the body of a page.
func read(by *http.Client, url string) (int, string, error) {
	response, err := by.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func TestAdminShowsWhatOperatorsAsk(t *testing.T) { onEachGateway(t, adminShowsWhatOperatorsAsk) }

func adminShowsWhatOperatorsAsk(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	if status, body, err := s.get(host, "/"); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	for path, want := range map[string]string{
		"/healthz":            "ok",
		"/ready":              "LIVE",
		"/metrics":            "go_goroutines",
		"/stats/prometheus":   `envoy_cluster_upstream_rq_total{envoy_cluster_name="default/hello-00001"} 1`,
		"/clusters":           "default/hello-00001",
		"/config_dump":        "hello.default.localhost",
		"/debug/pprof/symbol": "num_symbols",
	} {
		status, body, err := s.admined(path)
		if err != nil || status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, %v, and %q is not in it: %.300s", path, status, err, want, body)
		}
	}
}
