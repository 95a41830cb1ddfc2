package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
)

// putDeadline sends a message about the end of streams, and returns the status of the answer.
func putDeadline(t *testing.T, admin string, d contract.StreamDeadline, s *contract.Signer) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, admin+contract.StreamDeadlinePath+"?"+d.Query(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(contract.ProofHeader, d.Prove(s))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// echo upgrades a connection and sends back what it gets.
func echo(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}

func TestTheControllerEndsStreamsAndActivatorsProveThemselves(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echo(w, r)
		}
	}))
	defer app.Close()
	signer := contract.NewSigner("secret")
	p := start(t, app.Listener.Addr().String(), "SLUICE_ACTIVATOR_KEY", signer.Key().String(),
		"SERVING_NAMESPACE", "default", "SERVING_REVISION", "hello-00001", "SERVING_POD", "hello-00001-x")
	get(t, p.url, contract.ProxyHeader, "activator")
	get(t, p.url, contract.ProxyHeader, signer.ProxyProof("default", "hello-00001"))
	get(t, p.url, contract.ProxyHeader, signer.ProxyProof("default", "hello-00002"))
	eventually(t, "one of three requests counts as an activator's", func() bool {
		_, page := get(t, p.metrics+"/metrics")
		return strings.Contains(page, "\nsluice_queue_requests_total 3\n") &&
			strings.Contains(page, "\nsluice_queue_proxied_requests_total 1\n")
	})

	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	stream := bufio.NewReader(conn)
	if response, err := http.ReadResponse(stream, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no upgrade: %v, %v", response, err)
	}
	d := contract.StreamDeadline{
		Namespace: "default", Revision: "hello-00001", Pod: "hello-00001-x", At: time.Unix(1, 0), Signed: time.Now(),
	}
	if status := putDeadline(t, p.admin, d, contract.NewSigner("other")); status != http.StatusForbidden {
		t.Errorf("another installation's controller got %d, want 403", status)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := stream.ReadString('\n'); line != "hello\n" {
		t.Fatalf("the stream says %q, %v", line, err)
	}
	if status := putDeadline(t, p.admin, d, signer); status != http.StatusOK {
		t.Errorf("the controller got %d, want 200", status)
	}
	if _, err := stream.ReadByte(); err == nil {
		t.Error("the stream was not cut")
	}
}

func TestReadinessSaysWhatTheLastProbeFound(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer app.Close()
	p := start(t, app.Listener.Addr().String(), "SERVING_READINESS_PROBE", `{"httpGet":{"path":"/healthz"}}`)
	const want = "the application is not ready: HTTP probe of /healthz: got status 418, want 200 to 399"
	if status, text := get(t, p.admin+"/ready"); status != http.StatusServiceUnavailable || strings.TrimSpace(text) != want {
		t.Errorf("got %d and %q, want 503 and %q", status, text, want)
	}
}
