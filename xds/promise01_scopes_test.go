package xds_test

import (
	"fmt"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

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
			c.take(xds.ScopedRouteType, "x.test")
			c.gone(xds.ScopedRouteType, "y.test")
			c.gone(xds.EndpointType, "a")
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ScopedRouteType, "x.test", "y.test")
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

func TestClientIsToldThatThereAreNoScopes(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		_, c := followScopes(t, p)
		c.subscribe(xds.ScopedRouteType)
		c.take(xds.ScopedRouteType)
		c.quiet()
	})
}
