package http

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// waitLimit is how long a test waits for what must happen.
const waitLimit = time.Minute

// hop is a server to which the table applies. start runs it in front of an application until the test ends, and returns its address.
type hop struct {
	name  string
	extra []string
	start func(t *testing.T, app string) string
}

// The names of hops in the table and in docs/http.md.
const (
	builtIn    = "built-in gateway"
	envoyProxy = "Envoy"
	activating = "activator"
	queueProxy = "queue-proxy"
)

// hops are all hops. A server that takes requests over a socket and passes them on to an address needs only a line here.
var hops = []hop{
	{name: builtIn, start: startBuiltIn},
	{name: envoyProxy, start: startEnvoy},
	{name: activating, start: startActivator,
		extra: []string{"Knative-Serving-Namespace: default", "Knative-Serving-Revision: hello-00001"}},
	{name: queueProxy, start: startQueueProxy},
}

// host is the application's host. At h2cHost the gateway speaks h2c, as to a queue-proxy, in place of which is the application. timeout
// is the revision's timeout.
const (
	host    = "hello.default.localhost"
	h2cHost = "h2c.default.localhost"
	timeout = time.Second
)

// control serves a World in which the application is the only replica of a revision, and returns the addresses of the xDS server and of
// the gateway.
func control(t *testing.T, app string) (server, listen string) {
	listen = address.Free(t)
	at := netip.MustParseAddrPort(app)
	world := &model.World{
		Gateway: model.Gateway{HTTP: listen, Routes: model.Scoped},
	}
	for name, protocol := range map[string]model.Protocol{"hello": model.HTTP1, "h2c": model.H2C} {
		revision := model.Key{Namespace: "default", Name: name + "-00001"}
		world.Backends = append(world.Backends, &model.Backend{
			Revision: revision, Protocol: protocol, Timeout: timeout,
			Endpoints: []model.Endpoint{{Host: at.Addr().String(), Port: int(at.Port())}},
		})
		world.Routes = append(world.Routes, &model.Route{Key: model.Key{Namespace: "default", Name: name}, Rules: []model.Rule{{
			Hosts: []string{name + ".default.localhost"}, Shares: []model.Share{{Revision: revision, Percent: 100}},
		}}})
	}
	s := xds.New(xds.Options{Nacked: func(n resource.Nack) { t.Errorf("a client NACKs a response: %+v", n) }})
	set, _ := translator.Diff(nil, translator.Translate(world, nil))
	update := resource.Update{}
	for _, r := range set {
		update.Set = append(update.Set, (*resource.Resource)(r))
	}
	s.Apply(update)
	socket, err := net.Listen("tcp", address.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer(xds.ServerOptions()...)
	s.Register(rpc)
	go func() { _ = rpc.Serve(socket) }()
	t.Cleanup(func() { s.Close(); rpc.Stop() })
	return socket.Addr().String(), listen
}

func startBuiltIn(t *testing.T, app string) string {
	server, listen := control(t, app)
	g := gateway.New(gateway.Options{XDS: server, NodeID: "gateway", Drain: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	await(t, listen)
	return listen
}

func startEnvoy(t *testing.T, app string) string {
	path := realenvoy.Find(t)
	server, listen := control(t, app)
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway", XDS: server, Admin: address.Free(t)})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, logged := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "log")
	if err := os.WriteFile(config, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", config, "--log-path", logged, "--concurrency", "1", "--disable-hot-restart")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		text, _ := os.ReadFile(logged)
		for _, complaint := range realenvoy.Complaints(string(text), "") {
			t.Errorf("Envoy complains: %s", complaint)
		}
	})
	await(t, listen)
	return listen
}

func startActivator(t *testing.T, app string) string {
	server, _ := control(t, app)
	ln, err := net.Listen("tcp", address.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	a, err := activator.New(activator.Options{XDS: server, NodeID: "activator", Listener: ln, Drain: time.Second, Quiet: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func startQueueProxy(t *testing.T, app string) string {
	ln, err := net.Listen("tcp", address.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	p := queueproxy.New(queueproxy.Options{Target: app, Timeout: timeout})
	go func() { _ = p.Serve(ln) }()
	t.Cleanup(p.Close)
	return ln.Addr().String()
}

// await waits until a gateway has routes: only then it answers 404 for an unknown host.
func await(t *testing.T, at string) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for ; time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(deadline)
		fmt.Fprintf(conn, "GET /awaited HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		c := &conversation{Conn: conn}
		answer := c.readAll()
		conn.Close()
		if strings.Contains(answer, " 200 ") {
			return
		}
	}
	t.Fatalf("after %v the gateway does not serve %s", waitLimit, host)
}
