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
	"sluice.dev/sluice/xds/resource"
)

// scopedListener finds its routes by scope.
func scopedListener(name string) *resource.Resource {
	manager := anyOf(&hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
			Name:            name,
			ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: adsSource()}},
		}},
	})
	return made(resource.ListenerType, name, &listenerv3.Listener{Name: name, FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager}}},
	}}})
}

// scope sends a host's requests to a cluster.
func scope(host, cluster string) *resource.Resource {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}
	return made(resource.ScopedRouteType, host, &routev3.ScopedRouteConfiguration{
		Name: host,
		RouteConfiguration: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{Routes: []*routev3.Route{{Action: &routev3.Route_Route{Route: action}}}}},
		},
	})
}

// followScopes connects a gateway that has cluster a and a listener, but no scopes yet.
func followScopes(t *testing.T, p *protocol, scopes ...*resource.Resource) (*rig, *raw) {
	r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	r.set(append(scopes, cluster("a", ""), endpoints("a", ""), scopedListener("http"))...)
	c := r.connect(t, p, "gateway")
	c.subscribe(resource.ClusterType)
	c.take(resource.ClusterType, "a")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	c.subscribe(resource.ListenerType)
	c.take(resource.ListenerType, "http")
	c.quiet()
	return r, c
}

func TestScopeWaitsForItsClusterAndTheOldOneForTheScope(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := followScopes(t, p, scope("x.test", "a"), scope("y.test", "a"))
		c.subscribe(resource.ScopedRouteType)
		c.take(resource.ScopedRouteType, "x.test", "y.test")
		r.Apply(resource.Update{
			Set:     []*resource.Resource{cluster("b", ""), endpoints("b", ""), scope("x.test", "b")},
			Removed: []*resource.Resource{cluster("a", ""), endpoints("a", ""), scope("y.test", "")},
		})
		made := c.next()
		if made.Type != resource.ClusterType || made.Set["b"] == nil || p == sotw && made.Set["a"] == nil {
			t.Fatalf("got %s with %v, want the new cluster beside the old one", made.short(), made.names())
		}
		c.ack(made)
		c.subscribe(resource.EndpointType, "b")
		c.take(resource.EndpointType, "b")
		if p == delta {
			moved := c.next() // in one response, because only one scope may have a key
			if moved.Type != resource.ScopedRouteType || !slices.Equal(moved.names(), []string{"x.test"}) ||
				!slices.Equal(moved.Removed, []string{"y.test"}) {
				t.Fatalf("got %s with %v without %v", moved.short(), moved.names(), moved.Removed)
			}
			c.quiet() // its old cluster stays until it is acknowledged
			c.ack(moved)
			c.gone(resource.EndpointType, "a")
			c.gone(resource.ClusterType, "a")
		} else {
			c.take(resource.ScopedRouteType, "x.test")
			c.take(resource.ClusterType, "b")
		}
		c.quiet()
	})
}

// A listener makes its client subscribe to scopes. Until it has, the server removes nothing that its old routes may need.
func TestNothingIsRemovedBeforeTheScopesOfAListenerAreAskedFor(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "b"), endpoints("other", ""))
	c.subscribe(resource.EndpointType, "other")
	c.take(resource.EndpointType, "other")
	r.Apply(resource.Update{Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")}})
	for i := range 100 { // each is a round trip in which the removal could come
		r.set(endpoints("other", fmt.Sprint(i)))
		c.take(resource.EndpointType, "other")
	}
	c.subscribe(resource.ScopedRouteType)
	got := c.expect(resource.ScopedRouteType, "x.test")
	c.quiet()
	c.ack(got)
	c.gone(resource.EndpointType, "a")
	c.gone(resource.ClusterType, "a")
}

// A scope makes its client subscribe to its routes. Until the client has them, it does not have the state, and the clusters of the
// old routes stay.
func TestRoutesOfAScopeAreWaitedFor(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(resource.ScopedRouteType)
	c.take(resource.ScopedRouteType, "x.test")
	named := made(resource.ScopedRouteType, "x.test", &routev3.ScopedRouteConfiguration{Name: "x.test", RouteConfigurationName: "x"})
	r.Apply(resource.Update{
		Set:     []*resource.Resource{named, routes("x", "b"), cluster("b", ""), endpoints("b", "")},
		Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")},
	})
	c.take(resource.ClusterType, "b")
	c.subscribe(resource.EndpointType, "b")
	c.take(resource.EndpointType, "b")
	c.take(resource.ScopedRouteType, "x.test")
	c.quiet() // the client has not subscribed to the routes
	c.subscribe(resource.RouteType, "x")
	got := c.expect(resource.RouteType, "x")
	c.quiet()
	c.ack(got)
	c.gone(resource.EndpointType, "a")
	c.gone(resource.ClusterType, "a")
	c.quiet()
}

func TestNackedScopeHoldsUpNoOther(t *testing.T) {
	r, c := followScopes(t, delta, scope("w.test", "a"), scope("x.test", "a"), scope("y.test", "a"))
	c.subscribe(resource.ScopedRouteType)
	c.take(resource.ScopedRouteType, "w.test", "x.test", "y.test")
	r.set(scope("x.test", "bad"))
	c.nack(c.expect(resource.ScopedRouteType, "x.test"), "x.test: no")
	c.quiet()
	r.set(scope("y.test", "b"))
	c.take(resource.ScopedRouteType, "y.test")
	r.Apply(resource.Update{Removed: []*resource.Resource{scope("y.test", "")}})
	c.gone(resource.ScopedRouteType, "y.test")
	r.set(scope("x.test", "b"))
	c.take(resource.ScopedRouteType, "x.test")
	c.quiet()
}

// A gateway serves requests as soon as it has the first response, so that must hold all scopes.
func TestScopesAreNeverSplit(t *testing.T) {
	var scopes []*resource.Resource
	for i := range 50 {
		scopes = append(scopes, scope(fmt.Sprint("h", i), strings.Repeat("c", 100_000)))
	}
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	r.set(scopes...)
	conn := r.dial(t, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Cluster: "gateway"}, TypeUrl: resource.ScopedRouteType}
	if err := stream.Send(first); err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || len(got.GetResources()) != len(scopes) {
		t.Errorf("the first response holds %d of %d scopes, %v", len(got.GetResources()), len(scopes), err)
	}
}

// Connections from the time when the listener found its routes by scope use the scopes until they have drained.
func TestScopesAreLeftToAClientWhoseRoutesAreInlineAgain(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(resource.ScopedRouteType)
	c.take(resource.ScopedRouteType, "x.test")
	r.Apply(resource.Update{
		Set: []*resource.Resource{listener("http", "http", ""), routes("http", "a")}, Removed: []*resource.Resource{scope("x.test", "")},
	})
	inline := c.expect(resource.ListenerType, "http")
	c.ack(inline)
	c.quiet() // the client has not subscribed to the routes
	c.subscribe(resource.RouteType, "http")
	c.take(resource.RouteType, "http")
	for i := range 20 { // each is a round trip in which the removal could come
		r.set(routes("http", "a", fmt.Sprint(i)))
		c.take(resource.RouteType, "http")
	}
	c.unsubscribe(resource.ScopedRouteType, "*") // the last connection has ended
	c.quiet()
	r.set(scopedListener("http"))
	c.take(resource.ListenerType, "http")
	c.subscribe(resource.ScopedRouteType, "*")
	c.take(resource.ScopedRouteType)
	c.quiet()
}

// A gateway whose listener finds its routes by scope keeps none that are removed.
func TestLastScopeIsRemoved(t *testing.T) {
	r, c := followScopes(t, delta, scope("x.test", "a"))
	c.subscribe(resource.ScopedRouteType)
	c.take(resource.ScopedRouteType, "x.test")
	r.Apply(resource.Update{Removed: []*resource.Resource{scope("x.test", "")}})
	c.gone(resource.ScopedRouteType, "x.test")
	c.quiet()
}

func TestClientIsAnsweredThatThereAreNoScopes(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		_, c := followScopes(t, p)
		c.subscribe(resource.ScopedRouteType)
		c.take(resource.ScopedRouteType)
		c.quiet()
	})
}
