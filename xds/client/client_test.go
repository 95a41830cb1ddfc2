package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/xds/client"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	patience     = 2 * time.Minute
)

type deltaServer = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// plane is a control plane whose every response a test sends.
type plane struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	load_statsv3.UnimplementedLoadReportingServiceServer
	t       *testing.T
	address string
	streams chan *conversation
	loads   chan struct{} // attempts to report load, which all fail
	server  *grpc.Server
}

type conversation struct {
	t      *testing.T
	stream deltaServer
	heard  chan *discoveryv3.DeltaDiscoveryRequest
	hangUp context.CancelFunc
}

func (p *plane) DeltaAggregatedResources(stream deltaServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	c := &conversation{t: p.t, stream: stream, heard: make(chan *discoveryv3.DeltaDiscoveryRequest, 1000), hangUp: cancel}
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			c.heard <- r
		}
	}()
	p.streams <- c
	<-ctx.Done()
	return errors.New("hung up")
}

func (p *plane) StreamLoadStats(load_statsv3.LoadReportingService_StreamLoadStatsServer) error {
	p.loads <- struct{}{}
	return errors.New("no load is wanted")
}

func start(t *testing.T, address string) *plane {
	t.Helper()
	socket, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{
		t: t, address: socket.Addr().String(), streams: make(chan *conversation, 10), loads: make(chan struct{}, 1000),
		server: grpc.NewServer(),
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(p.server, p)
	load_statsv3.RegisterLoadReportingServiceServer(p.server, p)
	go func() { _ = p.server.Serve(socket) }()
	t.Cleanup(p.server.Stop)
	return p
}

func (p *plane) accept() *conversation {
	p.t.Helper()
	select {
	case c := <-p.streams:
		return c
	case <-time.After(patience):
		p.t.Fatal("the client does not come")
		return nil
	}
}

// request is what matters of one.
type request struct {
	Type, Nonce, Rejection string
	Subscribe, Unsubscribe []string
	Has                    map[string]string
}

func (c *conversation) next() request {
	c.t.Helper()
	select {
	case r := <-c.heard:
		return request{r.GetTypeUrl(), r.GetResponseNonce(), r.GetErrorDetail().GetMessage(),
			r.GetResourceNamesSubscribe(), r.GetResourceNamesUnsubscribe(), r.GetInitialResourceVersions()}
	case <-time.After(patience):
		c.t.Fatal("the client says nothing")
		return request{}
	}
}

func (c *conversation) expect(want request) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.next()); diff != "" {
		c.t.Fatalf("request (-want +got):\n%s", diff)
	}
}

func (c *conversation) say(typeURL, nonce string, set map[string]string, removed ...string) {
	c.t.Helper()
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: nonce, RemovedResources: removed}
	for name, version := range set {
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Version: version,
			Resource: &anypb.Any{TypeUrl: typeURL, Value: []byte("body " + version)}})
	}
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

// run starts a client that ends with the test.
func run(t *testing.T, c *client.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestSubscriptionsAreCoalescedAndInTypeOrder(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	c := client.New(client.Config{Target: p.address, NodeID: "n", Role: "gateway", Zone: "z"})
	c.Subscribe(endpointType, "b", "a")
	c.Subscribe(endpointType, "c", "d")
	c.Unsubscribe(endpointType, "d")
	c.Subscribe(clusterType, client.Wildcard)
	run(t, c)
	s := p.accept()
	hello := <-s.heard
	if n := hello.GetNode(); n.GetId() != "n" || n.GetCluster() != "gateway" || n.GetLocality().GetZone() != "z" {
		t.Errorf("the client is called %v", n)
	}
	if got := hello.GetResourceNamesSubscribe(); hello.GetTypeUrl() != clusterType || !slices.Equal(got, []string{"*"}) {
		t.Errorf("first request: %v", hello)
	}
	s.expect(request{Type: endpointType, Subscribe: []string{"a", "b", "c"}})
	c.Unsubscribe(endpointType, "b")
	s.expect(request{Type: endpointType, Unsubscribe: []string{"b"}})
}

func TestUpdateIsAcknowledgedBeforeTheSubscriptionsOfItsHandler(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	var c *client.Client
	got := make(chan client.Update, 1)
	c = client.New(client.Config{Target: p.address, Handler: func(u client.Update) error {
		for _, r := range u.Set {
			c.Subscribe(endpointType, r.Name)
		}
		got <- u
		return nil
	}})
	c.Subscribe(clusterType, "*")
	run(t, c)
	s := p.accept()
	s.expect(request{Type: clusterType, Subscribe: []string{"*"}})
	s.say(clusterType, "1", map[string]string{"a": "v1"}, "gone")
	want := client.Update{
		Type: clusterType, Set: []client.Resource{{Name: "a", Version: "v1", Body: []byte("body v1")}}, Removed: []string{"gone"},
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("update (-want +got):\n%s", diff)
	}
	s.expect(request{Type: clusterType, Nonce: "1"})
	s.expect(request{Type: endpointType, Subscribe: []string{"a"}})
}

func TestNackHasTheHandlersText(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	long := strings.Repeat("x", 100_000)
	texts := []string{"a: no", long}
	c := client.New(client.Config{Target: p.address, Handler: func(client.Update) error {
		text := texts[0]
		texts = texts[1:]
		return errors.New(text)
	}})
	c.Subscribe(clusterType, "*")
	run(t, c)
	s := p.accept()
	s.next()
	s.say(clusterType, "1", map[string]string{"a": "v1"})
	s.expect(request{Type: clusterType, Nonce: "1", Rejection: "a: no"})
	s.say(clusterType, "2", map[string]string{"a": "v2"})
	if got := s.next(); len(got.Rejection) > 5000 || got.Rejection == "" {
		t.Errorf("the rejection has %d bytes", len(got.Rejection))
	}
}

func TestReconnectSendsKnownVersions(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	c := client.New(client.Config{Target: p.address, Handler: func(u client.Update) error {
		if len(u.Set) > 0 && u.Set[0].Version == "bad" {
			return errors.New("no")
		}
		return nil
	}})
	c.Subscribe(clusterType, "*")
	c.Subscribe(endpointType, "a", "b", "c")
	run(t, c)
	s := p.accept()
	s.next()
	s.next()
	s.say(clusterType, "1", map[string]string{"a": "1", "b": "1", "c": "1"})
	s.say(clusterType, "2", map[string]string{"a": "bad"})
	s.say(clusterType, "3", map[string]string{"b": "2"}, "c")
	s.say(endpointType, "4", map[string]string{"a": "1", "b": "1"})
	for range 4 {
		s.next()
	}
	c.Unsubscribe(endpointType, "b")
	s.expect(request{Type: endpointType, Unsubscribe: []string{"b"}})
	s.hangUp()

	s = p.accept()
	s.expect(request{Type: clusterType, Subscribe: []string{"*"}, Has: map[string]string{"a": "1", "b": "2"}})
	s.expect(request{Type: endpointType, Subscribe: []string{"a", "c"}, Has: map[string]string{"a": "1"}})

	// And when the control plane itself was away.
	p.server.Stop()
	p = start(t, p.address)
	s = p.accept()
	s.expect(request{Type: clusterType, Subscribe: []string{"*"}, Has: map[string]string{"a": "1", "b": "2"}})
}

func TestLossIsReportedOnceUntilTheControlPlaneAnswersAgain(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	events := make(chan string, 100)
	c := client.New(client.Config{Target: p.address, Lost: func() { events <- "lost" }, Handler: func(client.Update) error {
		events <- "heard"
		return nil
	}})
	c.Subscribe(endpointType, "a")
	run(t, c)
	for range 2 {
		p.accept().hangUp() // it has answered nothing
	}
	for range 2 {
		s := p.accept()
		s.next()
		s.say(endpointType, "1", nil, "a")
		s.next() // the acknowledgement
		s.hangUp()
	}
	for _, want := range []string{"heard", "lost", "heard", "lost"} {
		select {
		case got := <-events:
			if got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("timed out waiting for %s", want)
		}
	}
}

func TestNameSubscribedAgainIsRequestedAgain(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	var once sync.Once
	var c *client.Client
	c = client.New(client.Config{Target: p.address, Handler: func(client.Update) error {
		once.Do(func() {
			c.Unsubscribe(endpointType, "a")
			c.Subscribe(endpointType, "a")
		})
		return nil
	}})
	c.Subscribe(endpointType, "a")
	run(t, c)
	s := p.accept()
	s.next()
	s.say(endpointType, "1", map[string]string{"a": "1"})
	s.expect(request{Type: endpointType, Nonce: "1", Subscribe: []string{"a"}})
}

func TestUnsubscribedResourcesAreDropped(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	got := make(chan client.Update, 10)
	c := client.New(client.Config{Target: p.address, Handler: func(u client.Update) error { got <- u; return nil }})
	c.Subscribe(endpointType, "a", "b")
	run(t, c)
	s := p.accept()
	s.next()
	c.Unsubscribe(endpointType, "a")
	s.expect(request{Type: endpointType, Unsubscribe: []string{"a"}})
	s.say(endpointType, "1", map[string]string{"a": "1", "b": "1"})
	if u := <-got; len(u.Set) != 1 || u.Set[0].Name != "b" {
		t.Errorf("the handler got %v", u)
	}
}

func TestLargeResponseIsTaken(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	got := make(chan client.Update, 10)
	c := client.New(client.Config{Target: p.address, Handler: func(u client.Update) error { got <- u; return nil }})
	c.Subscribe(endpointType, "*")
	run(t, c)
	s := p.accept()
	s.next()
	s.say(endpointType, "1", map[string]string{"a": strings.Repeat("x", 20<<20)})
	if u := <-got; len(u.Set) != 1 || len(u.Set[0].Body) < 20<<20 {
		t.Error("the resource did not arrive whole")
	}
}

func TestRunEndsWhereThereIsNoControlPlane(t *testing.T) {
	c := client.New(client.Config{Target: "127.0.0.1:1"})
	c.Subscribe(clusterType, "*")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run returned %v", fmt.Sprint(err))
	}
}
