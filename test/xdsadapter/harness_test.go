package main

import (
	"context"
	"flag"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/xds/resource"
)

// timeout bounds how long a test waits.
const timeout = 2 * time.Minute

// TestMain lets many scenarios run in parallel: most of their time they wait for the adapter's pause.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	m.Run()
}

// target is a running adapter with a connection to each of its ports.
type target struct {
	t            *testing.T
	xds, adapter *grpc.ClientConn
}

func start(t *testing.T) *target {
	t.Helper()
	listen := func() net.Listener {
		socket, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return socket
	}
	dial := func(socket net.Listener) *grpc.ClientConn {
		conn, err := grpc.NewClient(socket.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	clients, harness := listen(), listen()
	g := &target{t: t, xds: dial(clients), adapter: dial(harness)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, clients, harness, hclog.NewNullLogger()) }()
	t.Cleanup(func() {
		g.xds.Close()
		g.adapter.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
	})
	return g
}

// call calls the adapter as a harness does, and returns the response's only field.
func (g *target) call(method string, fill func(dynamic)) (string, error) {
	g.t.Helper()
	service, err := schema()
	if err != nil {
		g.t.Fatal(err)
	}
	m := service.Methods().ByName(protoreflect.Name(method))
	request, response := newDynamic(m.Input()), newDynamic(m.Output())
	fill(request)
	err = g.adapter.Invoke(context.Background(), "/adapter.Adapter/"+method, request.Message, response.Message)
	return response.Get(m.Output().Fields().Get(0)).String(), err
}

func (g *target) must(method string, fill func(dynamic)) {
	g.t.Helper()
	if got, err := g.call(method, fill); err != nil || got != "true" {
		g.t.Fatalf("%s returns %s, %v", method, got, err)
	}
}

func (d dynamic) setText(name, value string) { d.Set(d.field(name), protoreflect.ValueOfString(value)) }

// state fills a SetStateRequest with resources of each type that contain only their name.
func state(node, version string, names map[string][]string) func(dynamic) {
	return func(request dynamic) {
		request.setText("node", node)
		request.setText("version", version)
		list := request.Mutable(request.field("resources")).List()
		for url, names := range names {
			for _, name := range names {
				// Field 1 is the name in all four types.
				body := append([]byte{1<<3 | 2, byte(len(name))}, name...)
				item := list.NewElement()
				fields := item.Message().Descriptor().Fields()
				item.Message().Set(fields.ByName("type_url"), protoreflect.ValueOfString(url))
				item.Message().Set(fields.ByName("value"), protoreflect.ValueOfBytes(body))
				list.Append(item)
			}
		}
	}
}

func one(node, url, name, version string) func(dynamic) {
	return func(request dynamic) {
		request.setText("node", node)
		request.setText("typeUrl", url)
		request.setText("resourceName", name)
		request.setText("version", version)
	}
}

// set replaces the node's state by A, B, C and the fences of a type.
func (g *target) set(url, version string) {
	g.t.Helper()
	g.must("SetState", state("n", version, map[string][]string{url: {"A", "B", "C"}}))
}

func (g *target) update(url, name, version string) {
	g.t.Helper()
	g.must("UpdateResource", one("n", url, name, version))
}

func (g *target) add(url, name, version string) {
	g.t.Helper()
	g.must("AddResource", one("n", url, name, version))
}

func (g *target) remove(url, name, version string) {
	g.t.Helper()
	g.must("RemoveResource", one("n", url, name, version))
}

// variant is one of the four transports.
type variant struct{ delta, aggregated bool }

func (v variant) String() string {
	return map[bool]string{true: "delta", false: "sotw"}[v.delta] + map[bool]string{true: " aggregated", false: " separate"}[v.aggregated]
}

var variants = []variant{{false, false}, {false, true}, {true, false}, {true, true}}

// own has the service of each type and the noun in the names of its methods.
var own = map[string][2]string{
	resource.ClusterType:  {"envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"},
	resource.EndpointType: {"envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"},
	resource.ListenerType: {"envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"},
	resource.RouteType:    {"envoy.service.route.v3.RouteDiscoveryService", "Routes"},
}

func (v variant) method(url string) string {
	service := own[url]
	if v.aggregated {
		service = [2]string{"envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources"}
	}
	return "/" + service[0] + map[bool]string{true: "/Delta", false: "/Stream"}[v.delta] + service[1]
}

// full reports whether each response contains all resources of a type that the client subscribes to.
func (v variant) full(url string) bool {
	return !v.delta && (url == resource.ClusterType || url == resource.ListenerType)
}

// each runs a scenario for each type over each transport.
func each(t *testing.T, scenario func(t *testing.T, g *target, v variant, url string)) {
	for _, v := range variants {
		for url := range own {
			t.Run(v.String()+" "+url[strings.LastIndexByte(url, '.')+1:], func(t *testing.T) {
				t.Parallel()
				scenario(t, start(t), v, url)
			})
		}
	}
}

// reply is a response of either protocol. It has the version of each resource by name; with state of the world that is the
// response's version.
type reply struct {
	url, version, nonce string
	set                 map[string]string
	removed             []string
	bodies              []*anypb.Any
}

// client speaks one type on one stream.
type client struct {
	t       *testing.T
	v       variant
	url     string
	node    *corev3.Node
	stream  *stream
	names   []string
	last    reply
	replies chan reply
	sent    int
	got     int
}

// stream is a stream that one or several clients use.
type stream struct {
	grpc  grpc.ClientStream
	types map[string]chan reply
	ended chan error
}

func (g *target) open(t *testing.T, v variant, node string, urls ...string) []*client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	opened, err := g.xds.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, v.method(urls[0]))
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{grpc: opened, types: map[string]chan reply{}, ended: make(chan error, 1)}
	var clients []*client
	for i, url := range urls {
		c := &client{t: t, v: v, url: url, stream: s, replies: make(chan reply, 100)}
		if i == 0 {
			c.node = &corev3.Node{Id: node} // only in the first request, as the protocol allows
		}
		s.types[url] = c.replies
		clients = append(clients, c)
	}
	go s.read(v)
	return clients
}

func (g *target) connect(t *testing.T, v variant, url string) *client {
	t.Helper()
	return g.open(t, v, "n", url)[0]
}

func (s *stream) read(v variant) {
	for {
		r, err := s.receive(v)
		if err != nil {
			s.ended <- err
			return
		}
		s.types[r.url] <- r
	}
}

func (s *stream) receive(v variant) (reply, error) {
	r := reply{set: map[string]string{}}
	if v.delta {
		var m discoveryv3.DeltaDiscoveryResponse
		err := s.grpc.RecvMsg(&m)
		r.url, r.version, r.nonce, r.removed = m.GetTypeUrl(), m.GetSystemVersionInfo(), m.GetNonce(), m.GetRemovedResources()
		for _, resource := range m.GetResources() {
			r.set[resource.GetName()] = resource.GetVersion()
			r.bodies = append(r.bodies, resource.GetResource())
		}
		return r, err
	}
	var m discoveryv3.DiscoveryResponse
	err := s.grpc.RecvMsg(&m)
	r.url, r.version, r.nonce, r.bodies = m.GetTypeUrl(), m.GetVersionInfo(), m.GetNonce(), m.GetResources()
	for _, resource := range m.GetResources() {
		name, nameErr := nameOf(resource.GetTypeUrl(), resource.GetValue())
		if nameErr != nil {
			return r, nameErr
		}
		r.set[name] = r.version
	}
	return r, err
}

// say sends a request that changes the subscriptions and may answer a response.
func (c *client) say(subscribe, unsubscribe []string, nonce, refusal string) {
	c.t.Helper()
	var detail *statuspb.Status
	if refusal != "" {
		detail = &statuspb.Status{Code: 3, Message: refusal}
	}
	var m any = &discoveryv3.DeltaDiscoveryRequest{Node: c.node, TypeUrl: c.url, ResponseNonce: nonce, ErrorDetail: detail,
		ResourceNamesSubscribe: subscribe, ResourceNamesUnsubscribe: unsubscribe}
	if !c.v.delta {
		c.names = slices.DeleteFunc(append(c.names, subscribe...), func(n string) bool { return slices.Contains(unsubscribe, n) })
		m = &discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: c.url, ResponseNonce: nonce, ErrorDetail: detail,
			ResourceNames: c.names, VersionInfo: c.last.version}
	}
	if err := c.stream.grpc.SendMsg(m); err != nil {
		c.t.Fatalf("sending: %v (%v)", err, <-c.stream.ended)
	}
	c.node = nil
	c.sent++
}

// subscribe subscribes to names, with the nonce that the protocol requires: the last one, or none.
func (c *client) subscribe(names ...string)   { c.t.Helper(); c.say(names, nil, c.nonce(), "") }
func (c *client) unsubscribe(names ...string) { c.t.Helper(); c.say(nil, names, c.nonce(), "") }

func (c *client) nonce() string {
	if c.v.delta {
		return ""
	}
	return c.last.nonce
}

func (c *client) next() reply {
	c.t.Helper()
	select {
	case r := <-c.replies:
		c.got++
		return r
	case err := <-c.stream.ended:
		c.t.Fatalf("the stream ended: %v", err)
	case <-time.After(timeout):
		c.t.Fatal("no response")
	}
	return reply{}
}

// expect reads the next response, which must have the version and contain the names. The resources' own versions must be given if
// they differ from the response's.
func (c *client) expect(version string, set map[string]string, removed ...string) reply {
	c.t.Helper()
	r := c.next()
	want := reply{version: version, set: set, removed: removed}
	got := reply{version: r.version, set: r.set, removed: slices.Sorted(slices.Values(r.removed))}
	if !cmp.Equal(want, got, cmp.AllowUnexported(reply{})) {
		c.t.Fatalf("got %v, want %v", got, want)
	}
	return r
}

// take is expect with an acknowledgement.
func (c *client) take(version string, set map[string]string, removed ...string) {
	c.t.Helper()
	r := c.expect(version, set, removed...)
	c.last = r
	c.say(nil, nil, r.nonce, "")
}

// quiet checks that the server has nothing more to send: the next response answers a new subscription to fence, a resource that
// exists for this purpose. If responses are not full, it contains nothing else. version is that of the type.
func (c *client) quiet(g *target, version string, had ...string) {
	c.t.Helper()
	g.add(c.url, "fence", version)
	c.subscribe("fence")
	set := at(version, "fence")
	if c.v.full(c.url) {
		set = at(version, append(had, "fence")...)
	}
	c.take(version, set)
	if c.sent <= c.got {
		c.t.Errorf("%d responses to %d requests: an acknowledgement was answered", c.got, c.sent)
	}
}

// at returns names with a version.
func at(version string, names ...string) map[string]string {
	set := map[string]string{}
	for _, name := range names {
		set[name] = version
	}
	return set
}
