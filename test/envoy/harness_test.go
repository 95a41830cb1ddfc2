package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// roleVariable is the environment variable that makes the test binary act in a role instead of running tests.
const roleVariable = "SLUICE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		return
	}
	os.Exit(m.Run())
}

// timeout is how long a test waits for what must happen.
const timeout = 30 * time.Second

// control serves Worlds over xDS.
type control struct {
	// Set once.
	address string
	gateway string // where the gateway listens
	server  *xds.Server

	mu sync.Mutex
	// Guarded by mu.
	out        *translator.Output
	make       func(activators []model.Endpoint) *model.World // makes a World of the connected activators; nil if the test serves Worlds
	activators []model.Endpoint                               // connected
	applied    uint64                                         // the newest state
	reached    uint64                                         // what the gateway has acknowledged
}

func (c *control) progressed(p resource.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Role == contract.RoleGateway {
		c.reached = p.Seq
	}
}

// settled reports whether the gateway has acknowledged the newest state.
func (c *control) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached >= c.applied
}

func newControl(t testing.TB, options ...grpc.ServerOption) *control {
	c := &control{gateway: address.Free(t)}
	c.server = xds.New(xds.Options{
		Nacked:   func(n resource.Nack) { t.Errorf("a client NACKs a response: %+v", n) },
		Clients:  c.connected,
		Progress: c.progressed,
	})
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = socket.Addr().String()
	s := grpc.NewServer(append(xds.ServerOptions(), options...)...)
	c.server.Register(s)
	go func() { _ = s.Serve(socket) }()
	t.Cleanup(func() { c.server.Close(); s.Stop() })
	return c
}

// serve serves a World to clients.
func (c *control) serve(w *model.World) {
	if w.Gateway.HTTP == "" {
		w.Gateway.HTTP = c.gateway
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := translator.Translate(w, c.out)
	set, removed := translator.Diff(c.out, out)
	c.out = out
	update := resource.Update{}
	for _, r := range set {
		update.Set = append(update.Set, (*resource.Resource)(r))
	}
	for _, r := range removed {
		update.Removed = append(update.Removed, (*resource.Resource)(r))
	}
	c.applied = c.server.Apply(update)
}

// connected takes the connected clients of a role. If they are activators, it serves a World with them.
func (c *control) connected(role uint8, nodes []resource.Node) {
	if role != contract.RoleActivator {
		return
	}
	c.mu.Lock()
	c.activators = nil
	for _, n := range nodes {
		if at, err := netip.ParseAddrPort(n.Address); err == nil {
			c.activators = append(c.activators, model.Endpoint{Host: at.Addr().String(), Port: int(at.Port())})
		}
	}
	world := c.make
	now := c.activators
	c.mu.Unlock()
	if world != nil {
		c.serve(world(now))
	}
}

// follow serves a World made for the connected activators, again whenever they change.
func (c *control) follow(world func(activators []model.Endpoint) *model.World) {
	c.mu.Lock()
	c.make = world
	now := c.activators
	c.mu.Unlock()
	c.serve(world(now))
}

// standing returns the connected activators.
func (c *control) standing() []model.Endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activators
}

// hello is the revision of most tests, and host its host.
var hello = model.Key{Namespace: "default", Name: "hello-00001"}

const host = "hello.default.localhost"

// worldOf is a World with the revision hello and a Route to it.
func worldOf(backend model.Backend, activators ...model.Endpoint) *model.World {
	backend.Revision = hello
	if backend.Protocol == "" {
		backend.Protocol = model.HTTP1
	}
	return &model.World{
		Activators: activators,
		Backends:   []*model.Backend{&backend},
		Routes: []*model.Route{{Key: model.Key{Namespace: "default", Name: "hello"}, Rules: []model.Rule{{
			Hosts: []string{host}, Shares: []model.Share{{Revision: hello, Percent: 100}},
		}}}},
	}
}

// eachGateway runs a test with Envoy and with the built-in gateway. start starts the gateway and returns when it serves hello.
func eachGateway(t *testing.T, test func(t *testing.T, start func(*control))) {
	t.Run("Envoy", func(t *testing.T) {
		path := realenvoy.Find(t)
		test(t, func(c *control) { startEnvoy(t, path, c, nil) })
	})
	t.Run("built-in", func(t *testing.T) {
		test(t, func(c *control) { startBuiltIn(t, c) })
	})
}

func startBuiltIn(t testing.TB, c *control) {
	g := gateway.New(gateway.Options{XDS: c.address, NodeID: "gateway", Drain: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c.await(t)
}

// startEnvoy runs an Envoy until the test ends. The test fails if there is a complaint in Envoy's log. edit, if it is not nil, changes
// Envoy's bootstrap.
func startEnvoy(t testing.TB, path string, c *control, edit func(bootstrap string) string) (admin string, pid int) {
	admin = address.Free(t)
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway", XDS: c.address, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		bootstrap = []byte(edit(string(bootstrap)))
	}
	dir := t.TempDir()
	config, logged := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "log")
	if err := os.WriteFile(config, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", config, "--log-path", logged, "--concurrency", "2", "--disable-hot-restart")
	if _, ok := t.(*testing.B); ok {
		cmd.Args = append(cmd.Args, envoy.TrustDynamic) // as sluice up does; in tests Envoy shall complain
	}
	run(t, cmd)
	t.Cleanup(func() {
		text, _ := os.ReadFile(logged)
		for _, complaint := range realenvoy.Complaints(string(text), "", expected...) {
			t.Errorf("Envoy complains: %s", complaint)
		}
	})
	c.await(t)
	return admin, cmd.Process.Pid
}

// expected are the complaints about streams that the control plane has closed.
var expected = []*regexp.Regexp{regexp.MustCompile("stream (to xds_cluster )?closed: 13")}

// run runs a program until the test ends.
func run(t testing.TB, cmd *exec.Cmd) {
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// await waits until the gateway has a route for hello.
func (c *control) await(t testing.TB) {
	t.Helper()
	eventually(t, "the gateway serves", func() bool {
		conn, err := net.Dial("tcp", c.gateway)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		// Gateways refuse requests of this version, so that no replica gets one.
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		return err == nil && strings.Contains(line, " 404")
	})
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", timeout, what)
		}
	}
}

// tally counts the outcomes of requests.
type tally struct {
	mu  sync.Mutex
	all map[string]int
}

func (r *tally) add(outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]int{}
	}
	r.all[outcome]++
}

func (r *tally) total() (n int) {
	for _, count := range r.all {
		n += count
	}
	return n
}

// want fails the test unless one of these has answered each request.
func (r *tally) want(t *testing.T, who ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := 0
	for outcome, n := range r.all {
		if !slices.Contains(who, outcome) {
			failed += n
		}
	}
	t.Logf("%d of %d requests failed: %v", failed, r.total(), r.all)
	if failed > 0 || len(r.all) == 0 {
		var lines []string
		for _, outcome := range slices.Sorted(maps.Keys(r.all)) {
			lines = append(lines, fmt.Sprintf("%4d × %s", r.all[outcome], outcome))
		}
		t.Errorf("%d of %d requests failed, want only answers of %v:\n%s", failed, r.total(), who, strings.Join(lines, "\n"))
	}
}

// user sends requests to a gateway over its own connections.
type user struct {
	control *control
	client  *http.Client
}

func (c *control) user(t *testing.T) *user {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &user{c, &http.Client{Transport: transport, Timeout: timeout}}
}

// send sends a request that only the gateway may retry, and returns who answered, or the error.
func (u *user) send(method, path string) string {
	var body io.Reader
	if method == http.MethodPost {
		body = io.NopCloser(strings.NewReader("hello"))
	}
	r, err := http.NewRequest(method, "http://"+u.control.gateway+path, body)
	if err != nil {
		return err.Error()
	}
	r.Host = host
	if method == http.MethodPost {
		r.ContentLength = 5
	}
	response, err := u.client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Sprintf("%s, and then %v", response.Status, err)
	case response.StatusCode != http.StatusOK:
		return fmt.Sprintf("%s %q", response.Status, text)
	}
	return string(text)
}
