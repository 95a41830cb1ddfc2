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
