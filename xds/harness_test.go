package xds_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

const everyRole = contract.RoleGateway | contract.RoleActivator | contract.RoleMesh

// patience bounds how long a test waits for what must come.
const patience = 2 * time.Minute

func made(typeURL, name string, m proto.Message) *resource.Resource {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &resource.Resource{Type: typeURL, Name: name, Version: versionOf(body), Body: body, Roles: everyRole}
}

func versionOf(body []byte) string {
	sum := fnv.New64a()
	sum.Write(body)
	return fmt.Sprintf("%x", sum.Sum64())
}

func anyOf(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

// cluster is an EDS cluster; text makes one version differ from another.
func cluster(name, text string) *resource.Resource {
	return made(resource.ClusterType, name, &clusterv3.Cluster{
		Name: name, AltStatName: text,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
	})
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func endpoints(name, zone string) *resource.Resource {
	return made(resource.EndpointType, name, &endpointv3.ClusterLoadAssignment{
		ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{Locality: &corev3.Locality{Zone: zone}}},
	})
}

func listener(name, routes, text string) *resource.Resource {
	return made(resource.ListenerType, name, &listenerv3.Listener{
		Name: name, StatPrefix: text,
		ApiListener: &listenerv3.ApiListener{ApiListener: anyOf(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
				Rds: &hcmv3.Rds{RouteConfigName: routes, ConfigSource: adsSource()},
			},
		})},
	})
}

func routes(name string, clusters ...string) *resource.Resource {
	config := &routev3.RouteConfiguration{Name: name}
	for _, c := range clusters {
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name: c, Domains: []string{c},
			Routes: []*routev3.Route{{Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c},
			}}}},
		})
	}
	return made(resource.RouteType, name, config)
}

// clustersOf is what a route configuration names.
func clustersOf(body []byte) []string {
	var config routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &config); err != nil {
		panic(err)
	}
	var names []string
	for _, host := range config.GetVirtualHosts() {
		names = append(names, host.GetName())
	}
	return names
}

// rig is a server on a loopback port.
type rig struct {
	*xds.Server
	address string
}

func serve(t testing.TB, options xds.Options) *rig {
	t.Helper()
	return serveOn(t, options, "127.0.0.1:0")
}

func serveOn(t testing.TB, options xds.Options, address string, more ...grpc.ServerOption) *rig {
	t.Helper()
	socket, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := xds.New(options)
	carrier := grpc.NewServer(append(xds.ServerOptions(), more...)...)
	server.Register(carrier)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = carrier.Serve(socket)
	}()
	t.Cleanup(func() {
		carrier.Stop()
		server.Close()
		<-done
	})
	return &rig{server, socket.Addr().String()}
}

func (r *rig) set(resources ...*resource.Resource) uint64 {
	return r.Apply(resource.Update{Set: resources})
}

func (r *rig) dial(t testing.TB, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(r.address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// reply is a response of either protocol.
type reply struct {
	Type, Nonce, Version string
	Set                  map[string][]byte
	Removed              []string
}

func (r reply) names() []string { return slices.Sorted(maps.Keys(r.Set)) }

// short is the type without its package.
func (r reply) short() string { return r.Type[strings.LastIndexByte(r.Type, '.')+1:] }

// protocol opens raw streams.
type protocol struct {
	name string
	open func(ctx context.Context, conn *grpc.ClientConn) (transport, error)
}

var delta = &protocol{"delta", func(ctx context.Context, conn *grpc.ClientConn) (transport, error) {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	return &deltaTransport{stream: stream}, err
}}

var sotw = &protocol{"sotw", func(ctx context.Context, conn *grpc.ClientConn) (transport, error) {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	return &sotwTransport{stream: stream, names: map[string][]string{}, last: map[string]reply{}}, err
}}

// each runs a test over both protocols.
func each(t *testing.T, test func(t *testing.T, p *protocol)) {
	for _, p := range []*protocol{delta, sotw} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// transport hides how a protocol words what a client says.
type transport interface {
	subscribe(node *corev3.Node, typeURL string, names ...string) error
	unsubscribe(typeURL string, names ...string) error
	answer(r reply, rejection string) error
	receive() (reply, error)
}

type deltaTransport struct {
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (d *deltaTransport) subscribe(node *corev3.Node, typeURL string, names ...string) error {
	return d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (d *deltaTransport) unsubscribe(typeURL string, names ...string) error {
	return d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
}

func (d *deltaTransport) answer(r reply, rejection string) error {
	return d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.Type, ResponseNonce: r.Nonce, ErrorDetail: rejected(rejection)})
}

func rejected(text string) *statuspb.Status {
	if text == "" {
		return nil
	}
	return &statuspb.Status{Code: 3, Message: text}
}

func (d *deltaTransport) receive() (reply, error) {
	got, err := d.stream.Recv()
	r := reply{Type: got.GetTypeUrl(), Nonce: got.GetNonce(), Version: got.GetSystemVersionInfo(),
		Set: map[string][]byte{}, Removed: got.GetRemovedResources()}
	for _, resource := range got.GetResources() {
		r.Set[resource.GetName()] = resource.GetResource().GetValue()
	}
	return r, err
}

// sotwTransport keeps what the protocol makes a client repeat.
type sotwTransport struct {
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	names  map[string][]string
	last   map[string]reply
}

func (s *sotwTransport) send(node *corev3.Node, typeURL, rejection string) error {
	return s.stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNames: s.names[typeURL],
		ResponseNonce: s.last[typeURL].Nonce, VersionInfo: s.last[typeURL].Version, ErrorDetail: rejected(rejection)})
}

func (s *sotwTransport) subscribe(node *corev3.Node, typeURL string, names ...string) error {
	s.names[typeURL] = append(s.names[typeURL], names...)
	return s.send(node, typeURL, "")
}

func (s *sotwTransport) unsubscribe(typeURL string, names ...string) error {
	s.names[typeURL] = slices.DeleteFunc(s.names[typeURL], func(n string) bool { return slices.Contains(names, n) })
	return s.send(nil, typeURL, "")
}

func (s *sotwTransport) answer(r reply, rejection string) error {
	last := s.last[r.Type]
	last.Nonce = r.Nonce
	if rejection == "" {
		last.Version = r.Version
	}
	s.last[r.Type] = last
	return s.send(nil, r.Type, rejection)
}

func (s *sotwTransport) receive() (reply, error) {
	got, err := s.stream.Recv()
	r := reply{Type: got.GetTypeUrl(), Nonce: got.GetNonce(), Version: got.GetVersionInfo(), Set: map[string][]byte{}}
	for _, resource := range got.GetResources() {
		r.Set[nameOf(resource)] = resource.GetValue()
	}
	return r, err
}

// nameOf reads the name of any of the four types: assignments and the others have it in field 1.
func nameOf(resource *anypb.Any) string {
	m, err := resource.UnmarshalNew()
	if err != nil {
		panic(err)
	}
	return m.ProtoReflect().Get(m.ProtoReflect().Descriptor().Fields().ByNumber(1)).String()
}

// raw is a client that says exactly what a test wants.
type raw struct {
	t       testing.TB
	wire    transport
	node    *corev3.Node
	replies chan reply
	ended   chan error
	fences  int
	cut     context.CancelFunc
}

func (r *rig) connect(t testing.TB, p *protocol, role string, more ...grpc.DialOption) *raw {
	t.Helper()
	c, err := r.tryConnect(t, p, role, more...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) tryConnect(t testing.TB, p *protocol, role string, more ...grpc.DialOption) (*raw, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	wire, err := p.open(ctx, r.dial(t, more...))
	if err != nil {
		return nil, err
	}
	c := &raw{t: t, wire: wire, node: &corev3.Node{Id: "test", Cluster: role}, cut: cancel,
		replies: make(chan reply, 1000), ended: make(chan error, 1)}
	go func() {
		for {
			got, err := wire.receive()
			if err != nil {
				c.ended <- err
				return
			}
			c.replies <- got
		}
	}()
	return c, nil
}

func (c *raw) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("sending: %v (%v)", err, <-c.ended)
	}
}

func (c *raw) subscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.must(c.wire.subscribe(c.node, typeURL, names...))
	c.node = nil
}

func (c *raw) unsubscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.must(c.wire.unsubscribe(typeURL, names...))
}

func (c *raw) ack(r reply)               { c.t.Helper(); c.must(c.wire.answer(r, "")) }
func (c *raw) nack(r reply, text string) { c.t.Helper(); c.must(c.wire.answer(r, text)) }

// next is the following response.
func (c *raw) next() reply {
	c.t.Helper()
	select {
	case r := <-c.replies:
		return r
	case err := <-c.ended:
		c.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("no response")
	}
	return reply{}
}

// expect is the following response, which must be of the type and hold the names; it is not acknowledged.
func (c *raw) expect(typeURL string, names ...string) reply {
	c.t.Helper()
	r := c.next()
	if r.Type != typeURL || !cmp.Equal(r.names(), append([]string(nil), names...)) {
		c.t.Fatalf("got %s with %v (removed %v), want %s with %v", r.short(), r.names(), r.Removed, typeURL, names)
	}
	return r
}

// take is expect, acknowledged.
func (c *raw) take(typeURL string, names ...string) reply {
	c.t.Helper()
	r := c.expect(typeURL, names...)
	c.ack(r)
	return r
}

// gone is the following response, which must remove the names.
func (c *raw) gone(typeURL string, names ...string) reply {
	c.t.Helper()
	r := c.next()
	if r.Type != typeURL || len(r.Set) > 0 || !cmp.Equal(r.Removed, names) {
		c.t.Fatalf("got %s with %v, removed %v, want %s without %v", r.short(), r.names(), r.Removed, typeURL, names)
	}
	c.ack(r)
	return r
}

// quiet checks that the server has nothing more to say now: what it says at once to a question is the very next response.
func (c *raw) quiet() {
	c.t.Helper()
	c.fences++
	fence := fmt.Sprintf("type.googleapis.com/test.Fence%d", c.fences)
	c.subscribe(fence)
	r := c.expect(fence)
	c.ack(r)
}

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so within %v: %s", patience, what)
		}
	}
}
