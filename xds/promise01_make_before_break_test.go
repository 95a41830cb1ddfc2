package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// follow connects a gateway that has cluster a, listener http and routes to a.
func follow(t *testing.T, p *protocol, options xds.Options) (*rig, *raw) {
	r := serve(t, options)
	r.set(cluster("a", ""), endpoints("a", ""), listener("http", "http", ""), routes("http", "a"))
	c := r.connect(t, p, "gateway")
	c.subscribe(resource.ClusterType)
	c.take(resource.ClusterType, "a")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	c.subscribe(resource.ListenerType)
	c.take(resource.ListenerType, "http")
	c.subscribe(resource.RouteType, "http")
	c.take(resource.RouteType, "http")
	c.quiet()
	return r, c
}

// moveToB replaces cluster a by b, in one update.
func moveToB() resource.Update {
	return resource.Update{
		Set:     []*resource.Resource{cluster("b", ""), endpoints("b", ""), routes("http", "b")},
		Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")},
	}
}

func TestRouteWaitsForItsClusterAndTheOldOneForTheRoute(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(moveToB())
		made := c.next()
		if made.Type != resource.ClusterType || made.Set["b"] == nil || p == sotw && made.Set["a"] == nil {
			t.Fatalf("got %s with %v, want the new cluster beside the old one", made.short(), made.names())
		}
		c.quiet() // not acknowledged
		c.ack(made)
		c.quiet() // the client has not subscribed to its endpoints
		c.subscribe(resource.EndpointType, "b")
		made = c.expect(resource.EndpointType, "b")
		c.quiet() // not acknowledged
		c.ack(made)
		routed := c.expect(resource.RouteType, "http")
		c.quiet() // the old cluster stays until the route is acknowledged
		c.ack(routed)
		if p == delta {
			c.gone(resource.EndpointType, "a")
			c.gone(resource.ClusterType, "a")
		} else {
			c.take(resource.ClusterType, "b")
		}
		c.quiet()
	})
}

func TestSilentClientIsWaitedForABoundedTime(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		const wait = 50 * time.Millisecond
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: wait})
		start := time.Now()
		r.Apply(moveToB())
		if got := c.next(); got.Type != resource.ClusterType {
			t.Fatalf("got %s first", got.short())
		}
		c.expect(resource.RouteType, "http")
		if took := time.Since(start); took < wait {
			t.Errorf("the route came after %v, the client had %v to answer", took, wait)
		}
		for c.next().Type != resource.ClusterType { // removed at last
		}
	})
}

func TestResourceSetAgainWhileItsRemovalLingersStays(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(resource.Update{
			Set:     []*resource.Resource{routes("http")},
			Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")},
		})
		routed := c.expect(resource.RouteType, "http")
		r.set(cluster("a", ""), endpoints("a", ""), routes("http", "a"))
		c.ack(routed)
		c.take(resource.RouteType, "http")
		c.quiet()
	})
}

func TestNackedRouteKeepsTheClustersItMayNeed(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(resource.Update{
			Set:     []*resource.Resource{routes("http", "?")},
			Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")},
		})
		c.nack(c.expect(resource.RouteType, "http"), "no")
		c.quiet() // a stays: the client still routes to it
		r.set(routes("http"))
		c.take(resource.RouteType, "http")
		if p == delta {
			c.gone(resource.EndpointType, "a")
			c.gone(resource.ClusterType, "a")
		} else {
			c.take(resource.ClusterType)
		}
	})
}

func TestOldRoutesWaitUntilANewListenerHasItsOwn(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(resource.Update{
			Set: []*resource.Resource{listener("http", "other", ""), routes("other")},
			Removed: []*resource.Resource{
				routes("http", "a"), cluster("a", ""), endpoints("a", ""),
			},
		})
		c.take(resource.ListenerType, "http")
		c.quiet() // the client has yet to subscribe to the other routes
		c.subscribe(resource.RouteType, "other")
		routed := c.expect(resource.RouteType, "other")
		c.quiet()
		c.ack(routed)
		if p == delta {
			c.gone(resource.RouteType, "http")
			c.gone(resource.EndpointType, "a")
			c.gone(resource.ClusterType, "a")
		} else {
			c.take(resource.ClusterType)
		}
	})
}

func TestFreshClientGetsNoRoutesBeforeItsClusters(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour})
		r.set(cluster("a", ""), endpoints("a", ""), listener("http", "http", ""), routes("http", "a"))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.RouteType, "http")
		c.subscribe(resource.ListenerType, "*")
		c.quiet()
		c.subscribe(resource.ClusterType, "*")
		c.take(resource.ClusterType, "a")
		c.quiet()
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		c.take(resource.ListenerType, "http")
		c.take(resource.RouteType, "http")
	})
}

func TestClientThatAsksByNameGetsRoutesBeforeClusters(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour})
		r.set(cluster("a", ""), endpoints("a", ""), listener("host", "ns/route", ""), routes("ns/route", "a"))
		c := r.connect(t, p, "mesh")
		c.subscribe(resource.ListenerType, "host")
		c.take(resource.ListenerType, "host")
		c.subscribe(resource.RouteType, "ns/route")
		c.take(resource.RouteType, "ns/route")
		c.subscribe(resource.ClusterType, "a")
		c.take(resource.ClusterType, "a")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")

		// The route changes. The client subscribes to its clusters after that, and uses the old one until it has them.
		r.Apply(moveRoute())
		c.take(resource.RouteType, "ns/route")
		c.quiet()
		c.subscribe(resource.ClusterType, "b")
		got := c.next()
		if got.Type != resource.ClusterType || got.Set["b"] == nil || len(got.Removed) > 0 || p == sotw && got.Set["a"] == nil {
			t.Fatalf("got %s with %v, removed %v; want b, and a kept", got.short(), got.names(), got.Removed)
		}
		c.ack(got)
		c.unsubscribe(resource.ClusterType, "a")
		c.quiet()
	})
}

func moveRoute() resource.Update {
	return resource.Update{
		Set:     []*resource.Resource{cluster("b", ""), endpoints("b", ""), routes("ns/route", "b")},
		Removed: []*resource.Resource{cluster("a", ""), endpoints("a", "")},
	}
}
