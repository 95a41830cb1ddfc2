package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestEndpointsAreSentAgainAfterTheirClusterChanged(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond})
		r.set(cluster("a", "changed"))
		c.take(resource.ClusterType, "a")
		c.take(resource.EndpointType, "a")
		c.quiet()
		r.set(endpoints("a", "changed"))
		c.take(resource.EndpointType, "a")
		c.quiet()
	})
}

func TestEndpointsAreSentAgainAfterTheirClusterCameBack(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond})
		r.Apply(resource.Update{Set: []*resource.Resource{routes("http")}, Removed: []*resource.Resource{cluster("a", "")}})
		c.take(resource.RouteType, "http")
		if p == delta {
			c.gone(resource.ClusterType, "a")
		} else {
			c.take(resource.ClusterType)
		}
		r.set(cluster("a", "")) // its endpoints were never removed, and the client is still subscribed
		c.take(resource.ClusterType, "a")
		c.take(resource.EndpointType, "a")
		c.quiet()
	})
}
