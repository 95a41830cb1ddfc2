package admin

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/test/address"
)

// guarded serves what a process of ours shows to operators.
func guarded(t *testing.T, address string, users ...string) *httptest.Server {
	t.Helper()
	mux := NewMux(NewRegistry())
	mux.Handle("/", gateway.New(gateway.Options{XDS: "127.0.0.1:1"}).Admin())
	guard, err := newGuard(address, users, mux)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(guard)
	server.Config.ConnContext = rememberVisitor
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func TestAdminAnswersNoPageOfAnotherSite(t *testing.T) {
	server := guarded(t, "sluice.test:9090")
	host := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := net.SplitHostPort(host)
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path, host string
		headers            []string
		want               int
	}{
		{"GET", "/metrics", host, nil, 200},
		{"HEAD", "/debug/pprof/cmdline", host, nil, 200},
		{"GET", "/clusters", "localhost:" + port, []string{"Origin", "http://localhost:" + port, "Sec-Fetch-Site", "same-origin"}, 200},
		{"GET", "/clusters", "[::1]:" + port, []string{"Sec-Fetch-Site", "none"}, 200},
		{"GET", "/clusters", machine + ":9090", nil, 200},
		{"GET", "/clusters", "Sluice.Test", nil, 200},
		{"GET", "/clusters", "rebound.example:" + port, nil, 403},
		{"GET", "/debug/pprof/heap", "rebound.example", nil, 403},
		{"GET", "/metrics", "127.0.0.1.rebound.example:" + port, nil, 403},
		{"GET", "/config_dump", host, []string{"Origin", "http://elsewhere.example"}, 403},
		{"GET", "/config_dump", host, []string{"Origin", "null"}, 403},
		{"GET", "/debug/pprof/profile", host, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", "/debug/pprof/symbol", host, nil, 405},
		{"POST", "/quitquitquit", host, nil, 405},
		{"OPTIONS", "/metrics", host, []string{"Origin", "http://elsewhere.example"}, 405},
	} {
		request, err := http.NewRequest(test.method, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		for i := 0; i < len(test.headers); i += 2 {
			request.Header.Set(test.headers[i], test.headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s %s of %s with %q: got %s %.200s, want %d",
				test.method, test.path, test.host, test.headers, response.Status, text, test.want)
		}
	}
}

// The pages are there while the process runs, and the address is free after it.
func TestPagesEndWithTheirProcess(t *testing.T) {
	o := Options{Address: address.Free(t)}
	parts := stage.NewGroup()
	if err := o.Serve(parts, NewMux(NewRegistry())); err != nil {
		t.Fatal(err)
	}
	if err := o.Serve(parts, nil); err == nil || !strings.Contains(err.Error(), "--admin "+o.Address+" is in use") {
		t.Errorf("a second one: %v, want the flag and the address", err)
	}
	response, err := http.Get("http://" + o.Address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if !strings.Contains(string(text), "\ngo_goroutines ") {
		t.Errorf("got %s %.200s, want the metrics of the process", response.Status, text)
	}
	if err := parts.Stop(nil); err != nil {
		t.Error(err)
	}
	if l, err := net.Listen("tcp", o.Address); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}
