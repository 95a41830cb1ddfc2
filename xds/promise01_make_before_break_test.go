package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
)

// follow connects a gateway that has taken everything of: cluster a, listener http, routes to a.
func follow(t *testing.T, p *protocol, options xds.Options) (*rig, *raw) {
	r := serve(t, options)
	r.set(cluster("a", ""), endpoints("a", ""), listener("http", "http", ""), routes("http", "a"))
	c := r.connect(t, p, "gateway")
	c.subscribe(xds.ClusterType)
	c.take(xds.ClusterType, "a")
	c.subscribe(xds.EndpointType, "a")
	c.take(xds.EndpointType, "a")
	c.subscribe(xds.ListenerType)
	c.take(xds.ListenerType, "http")
	c.subscribe(xds.RouteType, "http")
	c.take(xds.RouteType, "http")
	c.quiet()
	return r, c
}

// moveToB replaces cluster a by b, in one update.
func moveToB() xds.Update {
	return xds.Update{
		Set:     []*xds.Resource{cluster("b", ""), endpoints("b", ""), routes("http", "b")},
		Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")},
	}
}

func TestRouteWaitsForItsClusterAndTheOldOneForTheRoute(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(moveToB())
		made := c.next()
		if made.Type != xds.ClusterType || made.Set["b"] == nil || p == sotw && made.Set["a"] == nil {
			t.Fatalf("got %s with %v, want the new cluster beside the old one", made.short(), made.names())
		}
		c.quiet() // not acknowledged
		c.ack(made)
		c.quiet() // its endpoints were not asked for
		c.subscribe(xds.EndpointType, "b")
		made = c.expect(xds.EndpointType, "b")
		c.quiet() // not acknowledged
		c.ack(made)
		routed := c.expect(xds.RouteType, "http")
		c.quiet() // the old cluster stays until the route is acknowledged
		c.ack(routed)
		if p == delta {
			c.gone(xds.EndpointType, "a")
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ClusterType, "b")
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
		if got := c.next(); got.Type != xds.ClusterType {
			t.Fatalf("got %s first", got.short())
		}
		c.expect(xds.RouteType, "http")
		if took := time.Since(start); took < wait {
			t.Errorf("the route came after %v, the client had %v to answer", took, wait)
		}
		for c.next().Type != xds.ClusterType { // removed at last
		}
	})
}

func TestResourceSetAgainWhileItsRemovalLingersStays(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(xds.Update{
			Set:     []*xds.Resource{routes("http")},
			Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")},
		})
		routed := c.expect(xds.RouteType, "http")
		r.set(cluster("a", ""), endpoints("a", ""), routes("http", "a"))
		c.ack(routed)
		c.take(xds.RouteType, "http")
		c.quiet()
	})
}

func TestRefusedRouteKeepsTheClustersItMayNeed(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(xds.Update{
			Set:     []*xds.Resource{routes("http", "?")},
			Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")},
		})
		c.nack(c.expect(xds.RouteType, "http"), "no")
		c.quiet() // a stays: the client still routes to it
		r.set(routes("http"))
		c.take(xds.RouteType, "http")
		if p == delta {
			c.gone(xds.EndpointType, "a")
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ClusterType)
		}
	})
}

func TestOldRoutesWaitUntilANewListenerHasItsOwn(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(xds.Update{
			Set: []*xds.Resource{listener("http", "other", ""), routes("other")},
			Removed: []*xds.Resource{
				routes("http", "a"), cluster("a", ""), endpoints("a", ""),
			},
		})
		c.take(xds.ListenerType, "http")
		c.quiet() // the client has still to ask for the other routes
		c.subscribe(xds.RouteType, "other")
		routed := c.expect(xds.RouteType, "other")
		c.quiet()
		c.ack(routed)
		if p == delta {
			c.gone(xds.RouteType, "http")
			c.gone(xds.EndpointType, "a")
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ClusterType)
		}
	})
}

func TestFreshClientGetsNoRoutesBeforeItsClusters(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour})
		r.set(cluster("a", ""), endpoints("a", ""), listener("http", "http", ""), routes("http", "a"))
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.RouteType, "http")
		c.subscribe(xds.ListenerType, "*")
		c.quiet()
		c.subscribe(xds.ClusterType, "*")
		c.take(xds.ClusterType, "a")
		c.quiet()
		c.subscribe(xds.EndpointType, "a")
		c.take(xds.EndpointType, "a")
		c.take(xds.ListenerType, "http")
		c.take(xds.RouteType, "http")
	})
}

func TestClientThatAsksByNameGetsRoutesBeforeClusters(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Wait: time.Hour, Settle: time.Hour})
		r.set(cluster("a", ""), endpoints("a", ""), listener("host", "ns/route", ""), routes("ns/route", "a"))
		c := r.connect(t, p, "mesh")
		c.subscribe(xds.ListenerType, "host")
		c.take(xds.ListenerType, "host")
		c.subscribe(xds.RouteType, "ns/route")
		c.take(xds.RouteType, "ns/route")
		c.subscribe(xds.ClusterType, "a")
		c.take(xds.ClusterType, "a")
		c.subscribe(xds.EndpointType, "a")
		c.take(xds.EndpointType, "a")

		// The route moves: its clusters are asked for after it, and the old one is in use until they are there.
		r.Apply(moveRoute())
		c.take(xds.RouteType, "ns/route")
		c.quiet()
		c.subscribe(xds.ClusterType, "b")
		got := c.next()
		if got.Type != xds.ClusterType || got.Set["b"] == nil || len(got.Removed) > 0 || p == sotw && got.Set["a"] == nil {
			t.Fatalf("got %s with %v, removed %v; want b, and a kept", got.short(), got.names(), got.Removed)
		}
		c.ack(got)
		c.unsubscribe(xds.ClusterType, "a")
		c.quiet()
	})
}

func moveRoute() xds.Update {
	return xds.Update{
		Set:     []*xds.Resource{cluster("b", ""), endpoints("b", ""), routes("ns/route", "b")},
		Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")},
	}
}
