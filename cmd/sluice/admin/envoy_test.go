package admin

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// Users of --admin may read the pages of Envoy that are documented, and nothing else.
func TestAdminPassesOnDocumentedPagesOfEnvoyAlone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "envoy.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	behind := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.String()
	})}
	go func() { _ = behind.Serve(l) }()
	front := httptest.NewServer(EnvoyPages("unix:" + socket))
	defer front.Close()
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/ready", 200}, {http.MethodHead, "/ready", 200}, {http.MethodGet, "/stats/prometheus?filter=a", 200},
		{http.MethodGet, "/clusters?format=json", 200}, {http.MethodGet, "/config_dump?include_eds", 200},
		{http.MethodPost, "/ready", 405}, {http.MethodPost, "/quitquitquit", 404}, {http.MethodGet, "/quitquitquit", 404},
		{http.MethodGet, "/logging?level=trace", 404}, {http.MethodGet, "/certs", 404}, {http.MethodGet, "/stats", 404},
		{http.MethodGet, "/", 404},
		{http.MethodGet, "/heap_dump", 404}, {http.MethodGet, "/ready/../quitquitquit", 404}, {http.MethodGet, "//quitquitquit", 404},
		{http.MethodGet, "/ready%2f..%2fquitquitquit", 404},
	} {
		request, _ := http.NewRequest(test.method, front.URL+test.path, nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s %s: got %s, want %d", test.method, test.path, response.Status, test.want)
		}
		if test.want == 200 {
			if got, want := <-asked, test.method+" "+test.path; got != want {
				t.Errorf("Envoy is asked for %s, want %s", got, want)
			}
		}
	}
	if len(asked) > 0 {
		t.Errorf("Envoy is asked for %s", <-asked)
	}
	behind.Close()
	response, err := http.Get(front.URL + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadGateway ||
		!strings.Contains(string(text), "Envoy does not answer") {
		t.Errorf("without an Envoy: got %s %q", response.Status, text)
	}
}
