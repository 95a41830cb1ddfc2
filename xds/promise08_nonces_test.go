package xds_test

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestDeltaHonoursASubscriptionOnAStaleNonce(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: resource.EndpointType, ResponseNonce: "stale", ResourceNamesSubscribe: []string{"b"},
	}))
	c.take(resource.EndpointType, "b")
}

func TestStateOfTheWorldIgnoresAStaleRequest(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""), endpoints("c", ""))
	c := r.connect(t, sotw, "gateway")
	wire := c.wire.(*sotwTransport)
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	c.must(wire.stream.Send(&discoveryv3.DiscoveryRequest{
		TypeUrl: resource.EndpointType, ResponseNonce: "stale", ResourceNames: []string{"a", "c"},
	}))
	c.quiet()
	c.subscribe(resource.EndpointType, "b")
	c.take(resource.EndpointType, "b")
}

func TestFirstRequestMayCarryAnotherTypesNonce(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(cluster("a", ""), endpoints("a", ""))
	t.Run("delta", func(t *testing.T) {
		c := r.connect(t, delta, "gateway")
		c.subscribe(resource.ClusterType)
		got := c.take(resource.ClusterType, "a")
		c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: resource.EndpointType, ResponseNonce: got.Nonce, ResourceNamesSubscribe: []string{"a"},
		}))
		c.take(resource.EndpointType, "a")
	})
	t.Run("sotw", func(t *testing.T) {
		c := r.connect(t, sotw, "gateway")
		c.subscribe(resource.ClusterType)
		got := c.take(resource.ClusterType, "a")
		c.must(c.wire.(*sotwTransport).stream.Send(&discoveryv3.DiscoveryRequest{
			TypeUrl: resource.EndpointType, ResponseNonce: got.Nonce, VersionInfo: got.Version, ResourceNames: []string{"a"},
		}))
		c.take(resource.EndpointType, "a")
	})
}
