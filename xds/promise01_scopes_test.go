package xds_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"sluice.dev/sluice/xds"
)

// scopedListener finds its routes by scope.
func scopedListener(name string) *xds.Resource {
	return made(xds.ListenerType, name, &listenerv3.Listener{Name: name, FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyOf(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
				Name: name, ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: adsSource()}},
			}},
		})}}},
	}}})
}

// scope sends a host's requests to a cluster.
func scope(host, cluster string) *xds.Resource {
	return made(xds.ScopedRouteType, host, &routev3.ScopedRouteConfiguration{Name: host, RouteConfiguration: &routev3.RouteConfiguration{
		VirtualHosts: []*routev3.VirtualHost{{Routes: []*routev3.Route{{Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		}}}}}},
	}})
}

// followScopes connects a gateway that has taken cluster a and a listener, but no scopes yet.
func followScopes(t *testing.T, p *protocol, scopes ...*xds.Resource) (*rig, *raw) {
	r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	r.set(append(scopes, cluster("a", ""), endpoints("a", ""), scopedListener("http"))...)
	c := r.connect(t, p, "gateway")
	c.subscribe(xds.ClusterType)
	c.take(xds.ClusterType, "a")
	c.subscribe(xds.EndpointType, "a")
	c.take(xds.EndpointType, "a")
	c.subscribe(xds.ListenerType)
	c.take(xds.ListenerType, "http")
	c.quiet()
	return r, c
}

func TestScopeWaitsForItsClusterAndTheOldOneForTheScope(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := followScopes(t, p, scope("x.test", "a"), scope("y.test", "a"))
		c.subscribe(xds.ScopedRouteType)
		c.take(xds.ScopedRouteType, "x.test", "y.test")
		r.Apply(xds.Update{
			Set:     []*xds.Resource{cluster("b", ""), endpoints("b", ""), scope("x.test", "b")},
			Removed: []*xds.Resource{cluster("a", ""), endpoints("a", ""), scope("y.test", "")},
		})
		made := c.next()
		if made.Type != xds.ClusterType || made.Set["b"] == nil || p == sotw && made.Set["a"] == nil {
			t.Fatalf("got %s with %v, want the new cluster beside the old one", made.short(), made.names())
		}
		c.ack(made)
		c.subscribe(xds.EndpointType, "b")
		c.take(xds.EndpointType, "b")
		if p == delta {
			moved := c.next() // in one response: a key may be in one scope only
			if moved.Type != xds.ScopedRouteType || !slices.Equal(moved.names(), []string{"x.test"}) || !slices.Equal(moved.Removed, []string{"y.test"}) {
				t.Fatalf("got %s with %v without %v", moved.short(), moved.names(), moved.Removed)
			}
			c.quiet() // what it left is kept until it is acknowledged
			c.ack(moved)
			c.gone(xds.EndpointType, "a")
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ScopedRouteType, "x.test")
			c.take(xds.ClusterType, "b")
		}
		c.quiet()
	})
}

// A listener makes its client ask for scopes; until it has, nothing is taken away that its old routes may need.
func TestNothingIsRemovedBeforeTheScopesOfAListenerAreAskedFor(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "b"), endpoints("other", ""))
	c.subscribe(xds.EndpointType, "other")
	c.take(xds.EndpointType, "other")
	r.Apply(xds.Update{Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")}})
	for i := range 100 { // each is a round trip in which the removal could come
		r.set(endpoints("other", fmt.Sprint(i)))
		c.take(xds.EndpointType, "other")
	}
	c.subscribe(xds.ScopedRouteType)
	got := c.expect(xds.ScopedRouteType, "x.test")
	c.quiet()
	c.ack(got)
	c.gone(xds.EndpointType, "a")
	c.gone(xds.ClusterType, "a")
}

// A scope makes its client ask for the routes that it leads to; until it has them it has not the state, and what the routes before
// led to stays.
func TestRoutesOfAScopeAreWaitedFor(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(xds.ScopedRouteType)
	c.take(xds.ScopedRouteType, "x.test")
	named := made(xds.ScopedRouteType, "x.test", &routev3.ScopedRouteConfiguration{Name: "x.test", RouteConfigurationName: "x"})
	r.Apply(xds.Update{Set: []*xds.Resource{named, routes("x", "b"), cluster("b", ""), endpoints("b", "")}, Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")}})
	c.take(xds.ClusterType, "b")
	c.subscribe(xds.EndpointType, "b")
	c.take(xds.EndpointType, "b")
	c.take(xds.ScopedRouteType, "x.test")
	c.quiet() // the routes were not asked for
	c.subscribe(xds.RouteType, "x")
	got := c.expect(xds.RouteType, "x")
	c.quiet()
	c.ack(got)
	c.gone(xds.EndpointType, "a")
	c.gone(xds.ClusterType, "a")
	c.quiet()
}

func TestRefusedScopeHoldsUpNoOther(t *testing.T) {
	r, c := followScopes(t, delta, scope("w.test", "a"), scope("x.test", "a"), scope("y.test", "a"))
	c.subscribe(xds.ScopedRouteType)
	c.take(xds.ScopedRouteType, "w.test", "x.test", "y.test")
	r.set(scope("x.test", "bad"))
	c.nack(c.expect(xds.ScopedRouteType, "x.test"), "x.test: no")
	c.quiet()
	r.set(scope("y.test", "b"))
	c.take(xds.ScopedRouteType, "y.test")
	r.Apply(xds.Update{Removed: []*xds.Resource{scope("y.test", "")}})
	c.gone(xds.ScopedRouteType, "y.test")
	r.set(scope("x.test", "b"))
	c.take(xds.ScopedRouteType, "x.test")
	c.quiet()
}

// A gateway serves what the first response holds, so that it must be all.
func TestScopesAreNeverSplit(t *testing.T) {
	var scopes []*xds.Resource
	for i := range 50 {
		scopes = append(scopes, scope(fmt.Sprint("h", i), strings.Repeat("c", 100_000)))
	}
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	r.set(scopes...)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial(t, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Cluster: "gateway"}, TypeUrl: xds.ScopedRouteType}); err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || len(got.GetResources()) != len(scopes) {
		t.Errorf("the first response holds %d of %d scopes, %v", len(got.GetResources()), len(scopes), err)
	}
}

// Connections that were made while the listener found its routes by scope go on doing so until they have drained.
func TestScopesAreLeftToAClientWhoseRoutesAreInlineAgain(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(xds.ScopedRouteType)
	c.take(xds.ScopedRouteType, "x.test")
	r.Apply(xds.Update{Set: []*xds.Resource{listener("http", "http", ""), routes("http", "a")}, Removed: []*xds.Resource{scope("x.test", "")}})
	inline := c.expect(xds.ListenerType, "http")
	c.ack(inline)
	c.quiet() // the routes were not asked for
	c.subscribe(xds.RouteType, "http")
	c.take(xds.RouteType, "http")
	for i := range 20 { // each is a round trip in which the removal could come
		r.set(routes("http", "a", fmt.Sprint(i)))
		c.take(xds.RouteType, "http")
	}
	c.unsubscribe(xds.ScopedRouteType, "*") // the last connection has ended
	c.quiet()
	r.set(scopedListener("http"))
	c.take(xds.ListenerType, "http")
	c.subscribe(xds.ScopedRouteType, "*")
	c.take(xds.ScopedRouteType)
	c.quiet()
}

// A listener that finds its routes by scope has none of those that are gone.
func TestLastScopeIsTakenAway(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(xds.ScopedRouteType)
	c.take(xds.ScopedRouteType, "x.test")
	r.Apply(xds.Update{Removed: []*xds.Resource{scope("x.test", "")}})
	c.gone(xds.ScopedRouteType, "x.test")
	c.quiet()
}

func TestClientIsToldThatThereAreNoScopes(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		_, c := followScopes(t, p)
		c.subscribe(xds.ScopedRouteType)
		c.take(xds.ScopedRouteType)
		c.quiet()
	})
}
