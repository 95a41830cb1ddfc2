package envoy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/output"
	"sluice.dev/sluice/test/realenvoy"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// host is what the World of these tests serves.
const host = "hello.default.localhost:8080"

// real is a real Envoy that is being supervised, with an application behind it.
type real struct {
	t       *testing.T
	gateway string // its address
	admin   string // the path of its socket
	xds     *xdsServer
	log     *output.Buffer // of the supervisor
	file    *output.Buffer // of Envoy
	cancel  context.CancelFunc
	ended   chan error
}

// setting is what differs between the tests.
type setting struct {
	path        string // of Envoy; the newest by default
	application http.HandlerFunc
	drain       time.Duration
	// between leads Envoy to the xDS server; directly by default.
	between func(server string) string
	// tls secures the connection to the xDS server; plain text by default.
	tls *envoy.TLS
	// expected are warnings that the test provokes.
	expected []*regexp.Regexp
}

// startReal starts an Envoy and waits until it serves. At the end of the test it must be gone, and have had nothing to complain of.
func startReal(t *testing.T, s setting) *real {
	t.Helper()
	if s.path == "" {
		s.path = realenvoy.Find(t)
	}
	if s.drain == 0 {
		s.drain = time.Minute
	}
	application := httptest.NewServer(s.application)
	t.Cleanup(application.Close)
	dir := t.TempDir()
	r := &real{
		t: t, gateway: address.Free(t), admin: filepath.Join(dir, "admin.sock"), log: &output.Buffer{}, file: &output.Buffer{},
		ended: make(chan error, 1),
	}
	r.xds = serveWorld(t, r.gateway, application.Listener.Addr().(*net.TCPAddr).Port)
	server := r.xds.address
	if s.between != nil {
		server = s.between(server)
	}
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway-1", XDS: server, Admin: "unix:" + r.admin, TLS: s.tls})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	ready := make(chan struct{}, 10)
	go func() {
		r.ended <- envoy.Run(ctx, envoy.Supervise{Path: s.path, Dir: dir, Bootstrap: bootstrap, Admin: "unix:" + r.admin, Drain: s.drain,
			Logger: hclog.New(&hclog.LoggerOptions{Output: r.log}), Log: r.file, Ready: func() { ready <- struct{}{} }})
	}()
	t.Cleanup(func() { r.stop(s.expected) })
	select {
	case <-ready:
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("Envoy ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatalf("Envoy is not ready after a minute; the end of its log:\n%s", r.tail())
	}
	return r
}

// stop ends Envoy, if it has not ended, and looks at what it has said.
func (r *real) stop(expected []*regexp.Regexp) {
	stats, _ := r.ask(http.MethodGet, "/stats")
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Error(err)
		}
	case <-time.After(time.Minute):
		r.t.Errorf("Envoy does not end; the log:\n%s", r.log)
	}
	for _, complaint := range realenvoy.Complaints(r.file.String(), stats, expected...) {
		r.t.Errorf("Envoy complains: %s", complaint)
	}
}

// ask asks the admin interface.
func (r *real) ask(method, path string) (string, error) {
	client := http.Client{Transport: envoy.AdminTransport("unix:" + r.admin), Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://localhost"+path, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// pids are those of the Envoys that were started, by the supervisor's log.
func (r *real) pids() []int {
	var all []int
	for _, m := range regexp.MustCompile(`envoy started: .*pid=(\d+)`).FindAllStringSubmatch(r.log.String(), -1) {
		pid, _ := strconv.Atoi(m[1])
		all = append(all, pid)
	}
	return all
}

// tail is the end of Envoy's log.
func (r *real) tail() string {
	text := r.file.String()
	return text[max(0, len(text)-4000):]
}

// get sends a request to the gateway.
func (r *real) get(client *http.Client, path string) (*http.Response, string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+r.gateway+path, nil)
	if err != nil {
		return nil, "", err
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// awaitClosed waits until the gateway takes no connections.
func (r *real) awaitClosed() {
	r.t.Helper()
	await(r.t, "the gateway takes no connections", func() bool {
		conn, err := net.Dial("tcp", r.gateway)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.Host+" "+r.Header.Get("Knative-Serving-Revision"))
}

// newClient is a client with connections of its own.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestRealEnvoyServesAWorld lets each installed Envoy fetch a World over ADS and sends it a request.
func TestRealEnvoyServesAWorld(t *testing.T) {
	for _, path := range realenvoy.All(t) {
		t.Run(realenvoy.Name(path), func(t *testing.T) {
			t.Parallel()
			if _, err := envoy.Check(t.Context(), path); err != nil {
				t.Error(err)
			}
			r := startReal(t, setting{path: path, application: hello})
			if response, body, err := r.get(newClient(t), "/"); err != nil || body != host+" hello-00001" {
				t.Errorf("got %v %q, %v", response, body, err)
			}
			p := envoy.NewStatsPoller("unix:" + r.admin)
			defer p.Close()
			loads, err := p.Poll(t.Context())
			if err != nil || !slices.ContainsFunc(loads, func(l envoy.ClusterLoad) bool { return l.Cluster == "default/hello-00001" }) {
				t.Errorf("the load by its statistics is %v, %v", loads, err)
			}
			if info, err := os.Stat(r.admin); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket of the admin interface is %v, %v; want one for its owner alone", info, err)
			}
			if strings.Contains(r.log.String(), "extensions") || !strings.Contains(r.file.String(), "statically linked extensions") {
				t.Errorf("want the extensions in the file alone; the log:\n%s", r.log)
			}
		})
	}
}

func TestRealEnvoyTakesTheSocketOfOneThatWasKilled(t *testing.T) {
	t.Parallel()
	r := startReal(t, setting{application: hello})
	if err := syscall.Kill(r.pids()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "another Envoy is started", func() bool { return len(r.pids()) == 2 })
	await(t, "it answers at the socket", func() bool {
		_, err := r.ask(http.MethodGet, "/ready")
		return err == nil
	})
	await(t, "it serves", func() bool {
		_, body, err := r.get(newClient(t), "/")
		return err == nil && body == host+" hello-00001"
	})
}

func TestABootstrapThatRealEnvoyRefusesEndsTheSupervision(t *testing.T) {
	t.Parallel()
	err := envoy.Run(t.Context(), envoy.Supervise{Path: realenvoy.Find(t), Dir: t.TempDir(), Bootstrap: []byte("no_such_field: 1\n"),
		Admin: "unix:none"})
	if err == nil || !strings.Contains(err.Error(), "before it was ready") || !strings.Contains(err.Error(), "no_such_field") {
		t.Errorf("got %v, want an error that says what Envoy has against its bootstrap", err)
	}
}

// xdsServer serves one Service over xDS.
type xdsServer struct {
	t       *testing.T
	server  *xds.Server
	address string
	port    int    // of the application
	gateway string // address that the listener has
	last    *translator.Output
}

// serveWorld serves one service over xDS; a refusal by Envoy fails the test.
func serveWorld(t *testing.T, gateway string, port int) *xdsServer {
	t.Helper()
	s := &xdsServer{t: t, port: port, gateway: gateway}
	s.server = xds.New(xds.Options{Nacked: func(n resource.Nack) {
		t.Errorf("Envoy refuses what it is sent: %+v", n)
	}})
	s.route("hello.default.localhost")
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = socket.Addr().String()
	g := grpc.NewServer(xds.ServerOptions()...)
	s.server.Register(g)
	go func() { _ = g.Serve(socket) }()
	t.Cleanup(func() { s.server.Close(); g.Stop() })
	return s
}

// route has the application serve these hosts.
func (s *xdsServer) route(hosts ...string) {
	revision := model.Key{Namespace: "default", Name: "hello-00001"}
	out := translator.Translate(&model.World{
		Gateway: model.Gateway{HTTP: s.gateway},
		Routes: []*model.Route{{Key: model.Key{Namespace: "default", Name: "hello"}, Rules: []model.Rule{{
			Hosts: hosts, Shares: []model.Share{{Revision: revision, Percent: 100}},
		}}}},
		Backends: []*model.Backend{{
			Revision: revision, Protocol: model.HTTP1, Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: s.port}},
		}},
	}, s.last)
	set, _ := translator.Diff(s.last, out)
	s.last = out
	var resources []*resource.Resource
	for _, r := range set {
		resources = append(resources, (*resource.Resource)(r))
	}
	s.server.Apply(resource.Update{Set: resources})
}
