package xds_test

import (
	"context"
	"testing"
	"time"

	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// own is the service of each type and the noun of its methods.
var own = map[string][2]string{
	resource.ClusterType:  {"envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"},
	resource.EndpointType: {"envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"},
	resource.ListenerType: {"envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"},
	resource.RouteType:    {"envoy.service.route.v3.RouteDiscoveryService", "Routes"},
	resource.SecretType:   {"envoy.service.secret.v3.SecretDiscoveryService", "Secrets"},
}

// separate is both protocols over a service of one type.
func separate(typeURL string) []*protocol {
	service := own[typeURL]
	open := func(ctx context.Context, conn *grpc.ClientConn, method string) (grpc.ClientStream, error) {
		return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+service[0]+"/"+method+service[1])
	}
	return []*protocol{
		{"delta", func(ctx context.Context, conn *grpc.ClientConn) (transport, error) {
			stream, err := open(ctx, conn, "Delta")
			return &deltaTransport{&grpc.GenericClientStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{
				ClientStream: stream,
			}}, err
		}},
		{"sotw", func(ctx context.Context, conn *grpc.ClientConn) (transport, error) {
			stream, err := open(ctx, conn, "Stream")
			return &sotwTransport{
				stream: &grpc.GenericClientStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ClientStream: stream},
				names:  map[string][]string{}, last: map[string]reply{},
			}, err
		}},
	}
}

// eachOwn runs a test for each type over both protocols of its own service.
func eachOwn(t *testing.T, test func(t *testing.T, p *protocol, typeURL string)) {
	for typeURL := range own {
		for _, p := range separate(typeURL) {
			t.Run(reply{Type: typeURL}.short()+" "+p.name, func(t *testing.T) {
				t.Parallel()
				test(t, p, typeURL)
			})
		}
	}
}

func TestEachTypeIsServedByItsOwnService(t *testing.T) {
	eachOwn(t, func(t *testing.T, p *protocol, typeURL string) {
		r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour}) // nothing waits for other types
		of := func(text string) *resource.Resource {                   // the bodies are not of the type, which the server does not check
			return made(typeURL, "a", wrapperspb.String(text))
		}
		r.set(of("1"), cluster("x", ""), endpoints("x", ""), listener("x", "x", ""), routes("x", "x"))
		take := func(c *raw) {
			t.Helper()
			got, err := receiveNames(c)
			if err != nil || got.Type != typeURL || len(got.Set) != 1 {
				t.Fatalf("got %s with %v, %v", got.short(), got.names(), err)
			}
			c.ack(got)
		}
		for _, say := range []string{typeURL, ""} {
			c := r.connect(t, p, "gateway")
			if wire, ok := c.wire.(*sotwTransport); ok {
				wire.names[say], wire.names[typeURL] = []string{"a"}, []string{"a"}
				c.must(wire.send(c.node, say, ""))
			} else {
				c.must(c.wire.subscribe(c.node, say, "a"))
			}
			take(c)
			r.set(of("2"))
			take(c)
			r.set(of("1"))
			take(c)
		}
	})
}

// receiveNames is the next response.
func receiveNames(c *raw) (reply, error) {
	select {
	case r := <-c.replies:
		return r, nil
	case err := <-c.ended:
		return reply{}, err
	case <-time.After(patience):
		return reply{}, context.DeadlineExceeded
	}
}

func TestServiceOfOneTypeRefusesOthers(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set()
	eachOwn(t, func(t *testing.T, p *protocol, typeURL string) {
		c := r.connect(t, p, "gateway")
		c.subscribe("type.googleapis.com/test.Other", "a")
		if err := <-c.ended; status.Code(err) != codes.InvalidArgument {
			t.Errorf("the stream ended with %v", err)
		}
	})
}

func TestFetchIsNotImplemented(t *testing.T) {
	r := serve(t, xds.Options{})
	_, err := clusterservicev3.NewClusterDiscoveryServiceClient(r.dial(t)).FetchClusters(t.Context(), &discoveryv3.DiscoveryRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestStreamOfOneTypeWaitsForNoOther(t *testing.T) {
	for _, typeURL := range []string{resource.ClusterType, resource.ListenerType} {
		for _, p := range separate(typeURL) {
			t.Run(reply{Type: typeURL}.short()+" "+p.name, func(t *testing.T) {
				t.Parallel()
				// The client never subscribes to the endpoints and route configurations of these.
				of := func(name, text string) *resource.Resource {
					if typeURL == resource.ClusterType {
						return cluster(name, text)
					}
					return listener(name, name, text)
				}
				var last uint64
				moved := make(chan resource.Progress, 100)
				r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
				r.set(of("a", ""), of("b", ""))
				c := r.connect(t, p, "gateway")
				c.subscribe(typeURL)
				c.take(typeURL, "a", "b")
				last = r.Apply(resource.Update{Set: []*resource.Resource{of("c", "")}, Removed: []*resource.Resource{of("a", "")}})
				if p.name == "delta" {
					c.take(typeURL, "c")
					c.gone(typeURL, "a")
				} else if got := c.next(); got.Set["a"] != nil { // add first and remove then, or both at once
					c.ack(got)
					c.take(typeURL, "b", "c")
				} else {
					c.ack(got)
				}
				for got := range moved {
					if got.Role == contract.RoleGateway && got.Seq == last {
						break
					}
				}
			})
		}
	}
}

func TestClientWithStreamsOfItsOwnForEachTypeIsOneNode(t *testing.T) {
	options, seen := gather(xds.Options{MaxStreams: len(four)})
	r := serve(t, options)
	r.set(cluster("a", ""), endpoints("a", ""), listener("a", "a", ""), routes("a", "a"))
	var streams []*raw
	for _, typeURL := range four {
		c := r.connect(t, separate(typeURL)[0], "gateway")
		c.node = nodeAt("envoy", "gateway", "127.0.0.1:1")
		c.subscribe(typeURL, "a")
		c.take(typeURL, "a")
		streams = append(streams, c)
	}
	alone := connected{contract.RoleGateway, []resource.Node{{ID: "envoy", Address: "127.0.0.1:1"}}}
	alone.await(t, seen)
	if got := r.Stats().Streams["gateway"]; got != len(four) {
		t.Errorf("counted %d streams", got)
	}
	more := r.connect(t, delta, "gateway")
	if err := <-more.ended; status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one stream more ended with %v", err)
	}
	for _, c := range streams {
		c.cut()
	}
	connected{contract.RoleGateway, nil}.await(t, seen)
	select {
	case last := <-seen:
		t.Errorf("clients were said to be %v", last)
	default:
	}
}
