package envoy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
)

// TestRealEnvoyServesAWorld lets an installed Envoy fetch a World over ADS and sends it a request.
func TestRealEnvoyServesAWorld(t *testing.T) {
	path, err := envoy.Find("")
	if errors.Is(err, envoy.ErrNotInstalled) {
		t.Skip("SKIPPED: there is no Envoy on PATH or in ENVOY_BIN, so that a real one takes our bootstrap and resources is not tested")
	}
	if err != nil {
		t.Fatal(err)
	}
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.Header.Get("Knative-Serving-Revision"))
	}))
	t.Cleanup(application.Close)
	gateway, admin := freeAddress(t), freeAddress(t)
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway-1", XDS: serveWorld(t, gateway, application.Listener.Addr().(*net.TCPAddr).Port), Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- envoy.Run(ctx, envoy.Supervise{Path: path, Dir: t.TempDir(), Bootstrap: bootstrap, Admin: admin, Drain: 2 * time.Second,
			Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn}), Ready: func() { ready <- struct{}{} }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Envoy ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("Envoy is not ready after a minute")
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "hello.default.localhost:8080"
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello.default.localhost:8080 hello-00001" {
		t.Errorf("got %s %q, %v", response.Status, body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// serveWorld serves one service over xDS and returns the address; a refusal by Envoy fails the test.
func serveWorld(t *testing.T, gateway string, port int) string {
	t.Helper()
	revision := model.Key{Namespace: "default", Name: "hello-00001"}
	out := translator.Translate(&model.World{
		Gateway: model.Gateway{HTTP: gateway, AccessLog: true},
		Routes: []*model.Route{{Key: model.Key{Namespace: "default", Name: "hello"}, Rules: []model.Rule{{
			Hosts: []string{"hello.default.localhost"}, Shares: []model.Share{{Revision: revision, Percent: 100}},
		}}}},
		Backends: []*model.Backend{{Revision: revision, Protocol: model.HTTP1, Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: port}}}},
	}, nil)
	set, _ := translator.Diff(nil, out)
	var resources []*xds.Resource
	for _, r := range set {
		resources = append(resources, (*xds.Resource)(r))
	}
	server := xds.New(xds.Options{Nacked: func(n xds.Nack) {
		t.Errorf("Envoy refuses what it is sent: %+v", n)
	}})
	server.Apply(xds.Update{Set: resources})
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(xds.ServerOptions()...)
	server.Register(s)
	go func() { _ = s.Serve(socket) }()
	t.Cleanup(func() { server.Close(); s.Stop() })
	return socket.Addr().String()
}
