package activator

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// patience bounds every wait of a test.
const patience = 2 * time.Minute

const cluster = "default/hello-00001"

// bench is an activator with a control plane in front of it, over real sockets.
type bench struct {
	testing.TB
	activator *Activator
	server    *xds.Server
	stop      func() // ends the activator and waits for it
	client    *http.Client

	mu      sync.Mutex
	changed chan struct{}
	nacks   []resource.Nack
	nodes   []resource.Node
	loads   []resource.ClusterLoad // all reports, one after the other
	applied uint64
}

func start(t testing.TB, opts Options) *bench {
	t.Helper()
	return startAsked(t, opts, 0)
}

// startAsked has the control plane ask for reports that often; 0 is its default.
func startAsked(t testing.TB, opts Options, interval time.Duration) *bench {
	t.Helper()
	b := &bench{TB: t, changed: make(chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	t.Cleanup(b.client.CloseIdleConnections)
	b.server = xds.New(xds.Options{
		Settle: time.Millisecond, LoadInterval: interval,
		Nacked: func(n resource.Nack) { b.note(func() { b.nacks = append(b.nacks, n) }) },
		Loads:  func(r resource.LoadReport) { b.note(func() { b.loads = append(b.loads, r.Clusters...) }) },
		Clients: func(role uint8, nodes []resource.Node) {
			if role == contract.RoleActivator {
				b.note(func() { b.nodes = nodes })
			}
		},
		Progress: func(p resource.Progress) {
			if p.Role == contract.RoleActivator {
				b.note(func() { b.applied = p.Seq })
			}
		},
	})
	rpc := grpc.NewServer(xds.ServerOptions()...)
	b.server.Register(rpc)
	ln := listener(t)
	go func() { _ = rpc.Serve(ln) }() // until Stop below
	t.Cleanup(func() { b.server.Close(); rpc.Stop() })
	b.server.Apply(resource.Update{})

	opts.XDS, opts.NodeID, opts.Listener = ln.Addr().String(), "test", listener(t)
	if opts.Drain == 0 {
		opts.Drain = 3 * time.Second
	}
	if opts.Quiet == 0 {
		opts.Quiet = 50 * time.Millisecond
	}
	var err error
	if b.activator, err = New(opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.activator.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (b *bench) note(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// until waits for a condition on what note has noted.
func (b *bench) until(what string, condition func() bool) {
	b.Helper()
	limit := time.After(patience)
	for {
		b.mu.Lock()
		ok, changed := condition(), b.changed
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			b.Fatalf("timed out waiting for %s (nacks: %v, loads: %v)", what, b.nacks, b.loads)
		}
	}
}

// eventually polls for what nobody notes.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// facts are what the metadata of an assignment says.
type facts map[string]any

// assigned makes the assignment of a revision.
func assigned(t testing.TB, name string, f facts, addresses ...string) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: "pods"}}
	for _, address := range addresses {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		socket := &corev3.SocketAddress{
			Address: tcp.IP.String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(tcp.Port)},
		}
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}}},
		}})
	}
	if f != nil {
		s, err := structpb.NewStruct(f)
		if err != nil {
			t.Fatal(err)
		}
		group.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"sluice.dev": s}}
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

// set makes the control plane say what a revision's endpoints are.
func (b *bench) set(name string, f facts, addresses ...string) {
	b.Helper()
	b.raw(assigned(b, name, f, addresses...))
}

func (b *bench) raw(m *endpointv3.ClusterLoadAssignment) uint64 {
	b.Helper()
	body := marshal(b, m)
	sum := fnv.New128a()
	_, _ = sum.Write(body)
	return b.server.Apply(resource.Update{Set: []*resource.Resource{{
		Type: resource.EndpointType, Name: m.ClusterName, Version: hex.EncodeToString(sum.Sum(nil)), Body: body,
		Roles: contract.RoleActivator,
	}}})
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (b *bench) removeAssignment(name string) {
	b.server.Apply(resource.Update{Removed: []*resource.Resource{{Type: resource.EndpointType, Name: name, Roles: contract.RoleActivator}}})
}

// request makes one for the revision of cluster, with further headers as pairs.
func (b *bench) request(method, path string, body io.Reader, headers ...string) *http.Request {
	b.Helper()
	req, err := http.NewRequest(method, "http://"+b.activator.Address()+path, body)
	if err != nil {
		b.Fatal(err)
	}
	req.Host = "hello.default.example.com"
	address(req, cluster)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

func address(req *http.Request, name string) {
	namespace, revision, _ := strings.Cut(name, "/")
	req.Header.Set("Knative-Serving-Namespace", namespace)
	req.Header.Set("Knative-Serving-Revision", revision)
}

// answer is a response, read.
type answer struct {
	*http.Response
	body string
	err  error
}

func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	if a.err != nil || a.StatusCode != status || !strings.Contains(a.body, body) {
		t.Errorf("got %v, want %d with %q", a, status, body)
	}
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %v %q", a.StatusCode, a.Header, a.body)
}

func do(client *http.Client, req *http.Request) answer {
	res, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res, string(body), err}
}

func (b *bench) get(headers ...string) answer {
	b.Helper()
	return do(b.client, b.request(http.MethodGet, "/", nil, headers...))
}

// later sends a request now and gives its answer when it is there.
func (b *bench) later(req *http.Request) <-chan answer {
	out := make(chan answer, 1)
	go func() { out <- do(b.client, req) }()
	return out
}

func await(t testing.TB, c <-chan answer) answer {
	t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(patience):
		t.Fatal("no answer")
		return answer{}
	}
}

// waiting waits until so many requests wait for the revision of cluster.
func (b *bench) waiting(n int) {
	b.Helper()
	eventually(b, fmt.Sprint(n, " waiting requests"), func() bool {
		r := b.activator.revisions.find(cluster)
		if r == nil {
			return n == 0
		}
		_, waiting := r.Counts()
		return waiting == n
	})
}

// known waits until the control plane has answered for the revision of cluster.
func (b *bench) known() {
	b.Helper()
	eventually(b, "the assignment", func() bool {
		r := b.activator.revisions.find(cluster)
		return r != nil && r.Status().Answered
	})
}

// replicaOf runs an application behind a real queue-proxy; it returns its address.
func replicaOf(t testing.TB, opts queueproxy.Options, app http.HandlerFunc) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	inner := httptest.NewUnstartedServer(app)
	inner.Config.Protocols = protocols
	inner.Start()
	t.Cleanup(inner.Close)
	opts.Target = inner.Listener.Addr().String()
	p := queueproxy.New(opts)
	ln := listener(t)
	go func() { _ = p.Serve(ln) }() // until Close
	t.Cleanup(p.Close)
	return ln.Addr().String()
}

// plain runs a replica without a queue-proxy.
func plain(t testing.TB, app http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(app)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func addressOf(s *httptest.Server) string { return s.Listener.Addr().String() }

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// count is the value of a counter.
func count(c prometheus.Counter) int { return int(testutil.ToFloat64(c)) }

// observed is how many durations a histogram has.
func observed(t testing.TB, h prometheus.Histogram) uint64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(h)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("gathered %v: %v", families, err)
	}
	return families[0].GetMetric()[0].GetHistogram().GetSampleCount()
}
