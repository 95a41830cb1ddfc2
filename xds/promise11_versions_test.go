package xds_test

import (
	"maps"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
)

func TestNothingIsServedBeforeTheFirstState(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.ClusterType)
		r.set(cluster("a", ""))
		c.take(xds.ClusterType, "a")
	})
}

func TestReconnectSendsNothingThatIsThere(t *testing.T) {
	resources := []*xds.Resource{cluster("a", ""), cluster("b", ""), endpoints("a", ""), endpoints("b", ""),
		listener("http", "http", ""), routes("http", "a", "b")}
	names := map[string][]string{xds.EndpointType: {"b", "a"}, xds.RouteType: {"http"}}
	first, second := serve(t, xds.Options{}), serve(t, xds.Options{})
	first.set(resources...)
	for _, resource := range slices.Backward(resources) { // another replica, which came to the same state in another way
		second.set(cluster("x", ""), resource)
	}
	second.Apply(xds.Update{Removed: []*xds.Resource{cluster("x", "")}})

	t.Run("delta", func(t *testing.T) {
		c := second.connect(t, delta, "gateway")
		for _, typeURL := range four {
			had := map[string]string{}
			for _, resource := range resources {
				if resource.Type == typeURL {
					had[resource.Name] = resource.Version
				}
			}
			c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				Node: c.node, TypeUrl: typeURL, InitialResourceVersions: had,
				ResourceNamesSubscribe: slices.Sorted(maps.Keys(had)),
			}))
		}
		c.quiet()
		second.set(endpoints("b", "new"))
		c.take(xds.EndpointType, "b")
		second.set(endpoints("b", ""))
		c.take(xds.EndpointType, "b")
	})
	t.Run("sotw", func(t *testing.T) {
		c := first.connect(t, sotw, "gateway")
		versions := map[string]string{}
		for _, typeURL := range four {
			c.subscribe(typeURL, names[typeURL]...)
			got := c.next()
			c.ack(got)
			versions[typeURL] = got.Version
		}
		again := second.connect(t, sotw, "gateway")
		for _, typeURL := range four {
			again.must(again.wire.(*sotwTransport).stream.Send(&discoveryv3.DiscoveryRequest{
				Node: again.node, TypeUrl: typeURL, VersionInfo: versions[typeURL], ResourceNames: names[typeURL],
			}))
			again.wire.(*sotwTransport).names[typeURL] = names[typeURL]
		}
		again.quiet()
		second.set(endpoints("b", "new"))
		again.take(xds.EndpointType, "b")
	})
}
