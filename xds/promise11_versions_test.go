package xds_test

import (
	"maps"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestNothingIsServedBeforeTheFirstState(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		r.set(cluster("a", ""))
		c.take(resource.ClusterType, "a")
	})
}

func TestReconnectSendsNothingThatIsThere(t *testing.T) {
	resources := []*resource.Resource{cluster("a", ""), cluster("b", ""), endpoints("a", ""), endpoints("b", ""),
		listener("http", "http", ""), routes("http", "a", "b")}
	names := map[string][]string{resource.EndpointType: {"b", "a"}, resource.RouteType: {"http"}}
	first, second := serve(t, xds.Options{}), serve(t, xds.Options{})
	first.set(resources...)
	for _, resource := range slices.Backward(resources) { // another replica, which reached the same state in another order
		second.set(cluster("x", ""), resource)
	}
	second.Apply(resource.Update{Removed: []*resource.Resource{cluster("x", "")}})

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
		c.take(resource.EndpointType, "b")
		second.set(endpoints("b", ""))
		c.take(resource.EndpointType, "b")
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
		again.take(resource.EndpointType, "b")
	})
}

func TestFixedVersionsStandInPlaceOfHashes(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		give := func(version string, set *resource.Resource) {
			r.Apply(resource.Update{Set: []*resource.Resource{set}, Versions: map[string]string{resource.EndpointType: version}})
		}
		give("one", endpoints("a", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		got := c.take(resource.EndpointType, "a")
		if got.Version != "one" {
			t.Errorf("the version is %q", got.Version)
		}
		r.set(endpoints("a", "2")) // it stays until another one is set
		if got := c.take(resource.EndpointType, "a"); got.Version != "one" {
			t.Errorf("the version is %q", got.Version)
		}
		if p == sotw { // the version does not identify content
			again := r.connect(t, p, "gateway")
			again.must(again.wire.(*sotwTransport).stream.Send(&discoveryv3.DiscoveryRequest{
				Node: again.node, TypeUrl: resource.EndpointType, VersionInfo: "one", ResourceNames: []string{"a"},
			}))
			again.expect(resource.EndpointType, "a")
		}
		give("", endpoints("a", "3"))
		got = c.take(resource.EndpointType, "a")
		plain := serve(t, xds.Options{})
		plain.set(endpoints("a", "3"))
		d := plain.connect(t, p, "gateway")
		d.subscribe(resource.EndpointType, "a")
		if want := d.take(resource.EndpointType, "a").Version; got.Version != want {
			t.Errorf("the version is %q, want the hash %q", got.Version, want)
		}
	})
}
