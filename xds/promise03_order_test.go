package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

var four = []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}

func TestWaitingTypesAreSentInOrder(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		c := r.connect(t, p, "gateway")
		for _, typeURL := range []string{resource.RouteType, resource.ListenerType, resource.EndpointType, resource.ClusterType} {
			c.subscribe(typeURL, "x")
		}
		eventually(t, "all four wait for the first state", func() bool { return r.Stats().Requests == 4 })
		r.set(cluster("x", ""), endpoints("x", ""), listener("x", "x", ""), routes("x", "x"))
		for _, typeURL := range four {
			c.take(typeURL, "x")
		}
	})
}

func TestChangesAreSentInOrderAndRemovalsInReverse(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	r.set()
	c := r.connect(t, delta, "gateway")
	for _, typeURL := range four {
		c.subscribe(typeURL, "*")
		c.take(typeURL)
	}
	all := []*resource.Resource{routes("x", "x"), listener("x", "x", ""), endpoints("x", ""), cluster("x", "")}
	for range 10 {
		r.set(all...)
		for _, typeURL := range four {
			c.take(typeURL, "x")
		}
		r.Apply(resource.Update{Removed: all})
		for i := range four {
			c.gone(four[len(four)-1-i], "x")
		}
		c.quiet() // all is acknowledged
	}
}
