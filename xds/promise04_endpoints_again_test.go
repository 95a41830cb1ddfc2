package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
)

func TestEndpointsAreSentAgainAfterTheirClusterChanged(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond})
		r.set(cluster("a", "changed"))
		c.take(xds.ClusterType, "a")
		c.take(xds.EndpointType, "a")
		c.quiet()
		r.set(endpoints("a", "changed"))
		c.take(xds.EndpointType, "a")
		c.quiet()
	})
}

func TestEndpointsAreSentAgainAfterTheirClusterCameBack(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond})
		r.Apply(xds.Update{Set: []*xds.Resource{routes("http")}, Removed: []*xds.Resource{cluster("a", "")}})
		c.take(xds.RouteType, "http")
		if p == delta {
			c.gone(xds.ClusterType, "a")
		} else {
			c.take(xds.ClusterType)
		}
		r.set(cluster("a", "")) // its endpoints were there all the time, and asked for
		c.take(xds.ClusterType, "a")
		c.take(xds.EndpointType, "a")
		c.quiet()
	})
}
