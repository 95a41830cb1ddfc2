package xds_test

import (
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestSubscribingAgainResends(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType, "a", "b")
	c.take(resource.EndpointType, "a", "b")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	c.quiet()
}

func TestMissingResourceIsAnsweredAtOnce(t *testing.T) {
	for _, typeURL := range four {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		r.set()
		c := r.connect(t, delta, "mesh")
		c.subscribe(typeURL, "none")
		c.gone(typeURL, "none")
		c.quiet()
	}
}

func TestResourceThatAppearsLaterIsSentToSubscribers(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set()
		c := r.connect(t, p, "mesh")
		c.subscribe(resource.EndpointType, "a")
		if p == delta {
			c.gone(resource.EndpointType, "a")
		}
		c.quiet()
		r.set(endpoints("a", ""), endpoints("b", ""))
		c.take(resource.EndpointType, "a")
		c.quiet()
	})
}

func TestRemovedWhileTheClientWasAwayIsReported(t *testing.T) {
	r := serve(t, xds.Options{})
	kept, changed := cluster("kept", ""), cluster("changed", "new")
	r.set(kept, changed)
	for _, names := range [][]string{{"*"}, {"kept", "changed", "gone"}} {
		c := r.connect(t, delta, "gateway")
		c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: c.node, TypeUrl: resource.ClusterType, ResourceNamesSubscribe: names,
			InitialResourceVersions: map[string]string{"kept": kept.Version, "changed": "old", "gone": "old"},
		}))
		c.take(resource.ClusterType, "changed")
		c.gone(resource.ClusterType, "gone")
		c.quiet()
	}
}
