package translator_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	grpcxds "google.golang.org/grpc/xds"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// replica is a gRPC server that counts the calls of its health service.
type replica struct {
	grpc_health_v1.UnimplementedHealthServer
	endpoint model.Endpoint
	mu       sync.Mutex
	calls    int
}

func (r *replica) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// taken returns the calls since the last time.
func (r *replica) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.calls = 0 }()
	return r.calls
}

func serve(t *testing.T, register func(*grpc.Server)) model.Endpoint {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(xds.ServerOptions()...)
	register(server)
	go func() { _ = server.Serve(socket) }()
	t.Cleanup(server.Stop)
	return model.Endpoint{Host: "127.0.0.1", Port: socket.Addr().(*net.TCPAddr).Port}
}

func newReplica(t *testing.T) *replica {
	r := &replica{}
	r.endpoint = serve(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, r) })
	return r
}

// mesh publishes Worlds to real gRPC clients.
type mesh struct {
	t       *testing.T
	server  *xds.Server
	address model.Endpoint
	output  *translator.Output
	nacks   chan resource.Nack
}

func newMesh(t *testing.T) *mesh {
	m := &mesh{t: t, nacks: make(chan resource.Nack, 100)}
	m.server = xds.New(xds.Options{Nacked: func(n resource.Nack) { m.nacks <- n }})
	m.address = serve(t, func(s *grpc.Server) { m.server.Register(s) })
	t.Cleanup(m.server.Close)
	return m
}

func (m *mesh) publish(w *model.World) {
	next := translator.Translate(w, m.output)
	set, removed := translator.Diff(m.output, next)
	convert := func(in []*translator.Resource) (out []*resource.Resource) {
		for _, r := range in {
			out = append(out, (*resource.Resource)(r))
		}
		return out
	}
	m.server.Apply(resource.Update{Set: convert(set), Removed: convert(removed)})
	m.output = next
}

// dial connects as a user would, with the target xds:///name.
func (m *mesh) dial(name string) grpc_health_v1.HealthClient {
	m.t.Helper()
	bootstrap := fmt.Sprintf(`{"xds_servers":[{"server_uri":"127.0.0.1:%d","channel_creds":[{"type":"insecure"}],"server_features":["xds_v3"]}],
		"node":{"id":"c1","cluster":"mesh","locality":{"region":"r","zone":"z"}}}`, m.address.Port)
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting([]byte(bootstrap))
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+name, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

func call(ctx context.Context, c grpc_health_v1.HealthClient) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func mustCall(t *testing.T, ctx context.Context, c grpc_health_v1.HealthClient, times int) { //nolint:revive // t first, as in every test
	t.Helper()
	for range times {
		if err := call(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
}

func greeter(shares ...model.Share) *model.Route {
	key := model.Key{Namespace: "default", Name: "greeter"}
	return &model.Route{Key: key, Owner: model.Ref{Kind: "Service", Key: key}, Rules: []model.Rule{{
		Hosts: []string{"greeter.default.localhost"}, LocalHosts: []string{"greeter.default"}, Shares: shares, Timeout: time.Minute,
	}}}
}

func revision(name string, endpoints ...model.Endpoint) *model.Backend {
	key := model.Key{Namespace: "default", Name: name}
	return &model.Backend{Revision: key, Owner: model.Ref{Kind: "Revision", Key: key}, Protocol: model.H2C, Via: model.ViaReplicas, Endpoints: endpoints}
}

func share(b *model.Backend, percent int) model.Share {
	return model.Share{Revision: b.Revision, Percent: percent}
}

func TestGRPCClientsSeeTheSplitAndFollowIt(t *testing.T) {
	m, one, two := newMesh(t), newReplica(t), newReplica(t)
	a, b := revision("greeter-00001", one.endpoint), revision("greeter-00002", two.endpoint)
	w := &model.World{Routes: []*model.Route{greeter(share(a, 70), share(b, 30))}, Backends: []*model.Backend{a, b}}
	m.publish(w)

	const calls = 3000
	for _, target := range []string{"greeter.default.localhost", "greeter.default.localhost:80", "greeter.default"} {
		client := m.dial(target)
		mustCall(t, t.Context(), client, calls)
		if got := float64(one.taken()) / calls; math.Abs(got-0.7) > 0.05 {
			t.Errorf("%s: the first revision got %.1f percent of the calls, want 70", target, 100*got)
		}
		two.taken()
	}

	client := m.dial("greeter.default")
	m.publish(&model.World{Routes: []*model.Route{greeter(share(b, 100))}, Backends: w.Backends})
	deadline := time.Now().Add(2 * time.Minute)
	for mustCall(t, t.Context(), client, 100); one.taken() > 0; mustCall(t, t.Context(), client, 100) {
		if time.Now().After(deadline) {
			t.Fatal("the client does not follow the change to 0/100")
		}
	}
	m.requireNoNacks()
}

func (m *mesh) requireNoNacks() {
	m.t.Helper()
	select {
	case n := <-m.nacks:
		m.t.Errorf("the client refuses what Translate made: %+v", n)
	default:
	}
}

func TestGRPCClientsChooseATagByHeader(t *testing.T) {
	m, one, two := newMesh(t), newReplica(t), newReplica(t)
	a, b := revision("greeter-00001", one.endpoint), revision("greeter-00002", two.endpoint)
	route := greeter(share(a, 100))
	route.Rules[0].TagHeader = []model.TagShare{{Tag: "next", Revision: b.Revision}}
	m.publish(&model.World{Routes: []*model.Route{route}, Backends: []*model.Backend{a, b}})

	client := m.dial("greeter.default")
	mustCall(t, metadata.AppendToOutgoingContext(t.Context(), "Knative-Serving-Tag", "next"), client, 20)
	mustCall(t, metadata.AppendToOutgoingContext(t.Context(), "Knative-Serving-Tag", "other"), client, 30)
	if x, y := one.taken(), two.taken(); x != 30 || y != 20 {
		t.Errorf("default got %d calls and the tag %d, want 30 and 20", x, y)
	}
	m.requireNoNacks()
}

// TestGRPCClientsWakeARevision has no replica at first: calls go to the activator, until there is one.
func TestGRPCClientsWakeARevision(t *testing.T) {
	m, activator, pod := newMesh(t), newReplica(t), newReplica(t)
	a := revision("greeter-00001")
	w := model.World{Routes: []*model.Route{greeter(share(a, 100))}, Backends: []*model.Backend{a}, Activators: []model.Endpoint{activator.endpoint}}
	m.publish(&w)
	client := m.dial("greeter.default")
	mustCall(t, t.Context(), client, 10)
	if got := activator.taken(); got != 10 {
		t.Errorf("the activator got %d of 10 calls while there was no replica", got)
	}

	w.Backends = []*model.Backend{revision("greeter-00001", pod.endpoint)}
	m.publish(&w)
	deadline := time.Now().Add(2 * time.Minute)
	for mustCall(t, t.Context(), client, 20); pod.taken() != 20; mustCall(t, t.Context(), client, 20) {
		if time.Now().After(deadline) {
			t.Fatal("the calls do not move to the replica")
		}
	}
	m.requireNoNacks()
}

func TestGRPCClientsFailAtOnceWhileNothingIsReady(t *testing.T) {
	m := newMesh(t)
	m.publish(&model.World{Routes: []*model.Route{greeter()}})
	// One that waited for an endpoint would end by its deadline.
	if err := call(t.Context(), m.dial("greeter.default")); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	m.requireNoNacks()
}
