package xds_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/xds"
)

// Virtual hosts as resources of their own (VHDS), as Envoy asks for them: for everything, by an empty first request, once it has
// a route configuration that says so; and on demand by "<route configuration>/<host>".

// virtualHost is one of the route configuration http; text makes one version differ from another.
func virtualHost(name, text string, domains ...string) *xds.Resource {
	return made(xds.VirtualHostType, "http/"+name, &routev3.VirtualHost{Name: "http/" + name, Domains: domains, Routes: []*routev3.Route{{Name: text}}})
}

// discovering is a route configuration whose virtual hosts are resources of their own.
func discovering(name string) *xds.Resource {
	return made(xds.RouteType, name, &routev3.RouteConfiguration{Name: name, Vhds: &routev3.Vhds{ConfigSource: adsSource()}})
}

// discover connects a gateway that has taken everything there is: cluster a, listener and routes http, and the virtual hosts.
func discover(t *testing.T, options xds.Options, hosts ...*xds.Resource) (*rig, *raw) {
	t.Helper()
	r := serve(t, options)
	r.set(append(hosts, cluster("a", ""), endpoints("a", ""), listener("http", "http", ""), discovering("http"))...)
	c := r.connect(t, delta, "gateway")
	c.toListener()
	c.subscribe(xds.RouteType, "http")
	c.take(xds.RouteType, "http")
	c.subscribe(xds.VirtualHostType)
	names := []string{}
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	if len(names) == 0 {
		c.gone(xds.VirtualHostType, "http/") // an answer, and to http
	} else {
		c.take(xds.VirtualHostType, names...)
	}
	c.quiet()
	return r, c
}

// toListener takes cluster a with its endpoints, and listener http.
func (c *raw) toListener() {
	c.t.Helper()
	c.subscribe(xds.ClusterType)
	c.take(xds.ClusterType, "a")
	c.subscribe(xds.EndpointType, "a")
	c.take(xds.EndpointType, "a")
	c.subscribe(xds.ListenerType)
	c.take(xds.ListenerType, "http")
}

// change is the following response, which must set and remove these virtual hosts at once; it is not acknowledged.
func (c *raw) change(set, removed []string) reply {
	c.t.Helper()
	got := c.next()
	if got.Type != xds.VirtualHostType || !slices.Equal(got.names(), set) || !slices.Equal(got.Removed, removed) {
		c.t.Fatalf("got %s with %v without %v, want %v without %v", got.short(), got.names(), got.Removed, set, removed)
	}
	return got
}

func TestOneVirtualHostIsOneResource(t *testing.T) {
	r, c := discover(t, xds.Options{Settle: time.Nanosecond}, virtualHost("x", "", "x.test"), virtualHost("y", "", "y.test"))
	r.set(virtualHost("x", "new", "x.test"))
	c.take(xds.VirtualHostType, "http/x")
	r.set(virtualHost("z", "", "z.test"))
	c.take(xds.VirtualHostType, "http/z")
	r.Apply(xds.Update{Removed: []*xds.Resource{virtualHost("y", "")}})
	c.gone(xds.VirtualHostType, "http/y")
	c.subscribe(xds.VirtualHostType, "*")
	c.take(xds.VirtualHostType, "http/x", "http/z")
	c.unsubscribe(xds.VirtualHostType, "*")
	c.quiet()
	r.set(virtualHost("x", "newer", "x.test"))
	c.quiet()
}

func TestVirtualHostWaitsForItsClusters(t *testing.T) {
	r, c := discover(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour}, virtualHost("x", "", "x.test"))
	r.set(cluster("b", ""), virtualHost("x", "to b", "x.test"))
	b := c.expect(xds.ClusterType, "b")
	c.quiet()
	c.subscribe(xds.EndpointType, "b")
	none := c.next() // there are no endpoints
	c.quiet()
	c.ack(none)
	c.ack(b)
	c.take(xds.VirtualHostType, "http/x")
	c.quiet()
}

// A client refuses a domain that another virtual host has, so that taking it away may not come later than giving it.
func TestDomainMovesInOneResponse(t *testing.T) {
	r, c := discover(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour}, virtualHost("x", "", "x.test", "moved.test"), virtualHost("y", "", "y.test"))
	r.Apply(xds.Update{
		Set:     []*xds.Resource{cluster("b", ""), endpoints("b", ""), virtualHost("z", "", "moved.test")},
		Removed: []*xds.Resource{virtualHost("x", ""), cluster("a", ""), endpoints("a", "")},
	})
	c.take(xds.ClusterType, "b")
	c.subscribe(xds.EndpointType, "b")
	c.take(xds.EndpointType, "b")
	moved := c.change([]string{"http/z"}, []string{"http/x"})
	c.quiet() // what it left is kept until it is acknowledged
	c.ack(moved)
	c.gone(xds.EndpointType, "a")
	c.gone(xds.ClusterType, "a")
	c.quiet()
}

func TestRefusedVirtualHostHoldsUpNoOther(t *testing.T) {
	r, c := discover(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour}, virtualHost("w", "", "w.test"), virtualHost("x", "", "x.test"), virtualHost("y", "", "y.test"))
	r.set(virtualHost("x", "bad", "x.test"))
	c.nack(c.expect(xds.VirtualHostType, "http/x"), "http/x: no")
	c.quiet()
	r.set(virtualHost("y", "new", "y.test"))
	c.take(xds.VirtualHostType, "http/y")
	r.Apply(xds.Update{Set: []*xds.Resource{virtualHost("z", "", "w.test")}, Removed: []*xds.Resource{virtualHost("w", "")}})
	c.ack(c.change([]string{"http/z"}, []string{"http/w"}))
	r.Apply(xds.Update{Removed: []*xds.Resource{virtualHost("y", "")}})
	c.gone(xds.VirtualHostType, "http/y")
	r.set(virtualHost("x", "good", "x.test"))
	c.take(xds.VirtualHostType, "http/x")
	c.quiet()
}

func TestVirtualHostIsAnsweredOnDemand(t *testing.T) {
	hosts := []*xds.Resource{virtualHost("ns:x", "", "x.test", "www.x.test"), virtualHost("ns:y", "", "y.test")}
	r, c := discover(t, xds.Options{Settle: time.Nanosecond}, hosts...)
	for _, asked := range []struct{ name, set string }{
		{"http/www.x.test", "http/ns:x"}, {"http/x.test:8080", "http/ns:x"}, {"http/ns:y", "http/ns:y"},
		{"http/nobody.test", "http/nobody.test"}, {"local/x.test", "local/x.test"}, {"http", "http"},
	} {
		c.subscribe(xds.VirtualHostType, asked.name)
		got := c.take(xds.VirtualHostType, asked.set)
		known := asked.set == "http/ns:x" || asked.set == "http/ns:y"
		if (got.Set[asked.set] != nil) != known || len(got.Removed) > 0 {
			t.Errorf("%s is answered with %v", asked.name, got)
		}
		if want := []string{asked.name}; asked.name != "http/ns:y" && !cmp.Equal(got.Aliases[asked.set], want) {
			t.Errorf("%s is answered for %v: Envoy would go on waiting", asked.name, got.Aliases)
		}
	}
	// The name leads where the host is now, and nowhere when it is gone.
	r.Apply(xds.Update{Set: []*xds.Resource{virtualHost("ns:y", "", "y.test", "x.test")}, Removed: hosts[:1]})
	c.ack(c.change([]string{"http/ns:y"}, []string{"http/ns:x"}))
	c.subscribe(xds.VirtualHostType, "http/x.test", "http/www.x.test")
	if got := c.take(xds.VirtualHostType, "http/ns:y", "http/www.x.test"); got.Set["http/www.x.test"] != nil {
		t.Error("a host that is gone is answered with a virtual host")
	}
	c.quiet()
}

// Envoy with its on-demand filter names what it was asked for when it reconnects, and does not ask for all.
func TestOnDemandAloneIsKeptUpToDate(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	r.set(virtualHost("x", "", "x.test"), virtualHost("y", "", "y.test"))
	c := r.connect(t, delta, "gateway")
	c.subscribe(xds.VirtualHostType, "http/x.test")
	c.take(xds.VirtualHostType, "http/x")
	r.set(virtualHost("x", "new", "x.test"), virtualHost("y", "new", "y.test"))
	c.take(xds.VirtualHostType, "http/x")
	c.quiet()
}

func TestVirtualHostsOfAClientThatReconnects(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	kept, changed := virtualHost("kept", "", "k.test"), virtualHost("changed", "new", "c.test")
	r.set(kept, changed, discovering("http"))
	c := r.connect(t, delta, "gateway")
	c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: c.node, TypeUrl: xds.VirtualHostType, ResourceNamesSubscribe: []string{"*"},
		InitialResourceVersions: map[string]string{kept.Name: kept.Version, changed.Name: "old", "http/gone": "old"},
	}))
	c.ack(c.change([]string{"http/changed"}, []string{"http/gone"}))
	c.node = nil
	c.quiet()
}

func TestAllVirtualHostsComeInOneResponse(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	var all []*xds.Resource
	for i := range 6000 {
		all = append(all, virtualHost(fmt.Sprintf("h%04d", i), strings.Repeat("x", 1000), fmt.Sprintf("h%d.test", i)))
	}
	r.set(all...)
	c := r.connect(t, delta, "gateway")
	c.subscribe(xds.VirtualHostType)
	if got := c.next(); len(got.Set) != len(all) {
		t.Errorf("the first response has %d of %d virtual hosts: a client serves what it holds", len(got.Set), len(all))
	}
}

func TestNoVirtualHostsAreAnsweredToo(t *testing.T) {
	_, c := discover(t, xds.Options{Settle: time.Nanosecond})
	c.quiet()
}

// Until a gateway has the virtual hosts in place of those within its routes it may need what these lead to, and it is not there yet.
func TestProgressAndRemovalsWaitForVirtualHosts(t *testing.T) {
	var mu sync.Mutex
	reached := uint64(0)
	r, c := follow(t, delta, xds.Options{Settle: time.Nanosecond, Wait: time.Hour, Progress: func(p xds.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Role == xds.RoleGateway {
			reached = p.Seq
		}
	}})
	is := func(seq uint64) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return reached == seq }
	}
	eventually(t, "the first state is acknowledged", is(1))
	r.Apply(xds.Update{
		Set:     []*xds.Resource{cluster("b", ""), endpoints("b", ""), discovering("http"), virtualHost("x", "", "x.test")},
		Removed: []*xds.Resource{cluster("a", ""), endpoints("a", "")},
	})
	c.take(xds.ClusterType, "b")
	c.subscribe(xds.EndpointType, "b")
	c.take(xds.EndpointType, "b")
	c.take(xds.RouteType, "http")
	c.quiet()
	c.subscribe(xds.VirtualHostType)
	hosts := c.expect(xds.VirtualHostType, "http/x")
	c.quiet()
	if !is(1)() {
		t.Error("the state counts as reached before the virtual hosts are acknowledged")
	}
	c.ack(hosts)
	c.gone(xds.EndpointType, "a")
	c.gone(xds.ClusterType, "a")
	eventually(t, "the second state is acknowledged", is(2))
}

func TestVirtualHostsStayUntilRoutesHaveThemWithin(t *testing.T) {
	r, c := discover(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour}, virtualHost("x", "", "x.test"))
	r.Apply(xds.Update{Set: []*xds.Resource{routes("http", "a")}, Removed: []*xds.Resource{virtualHost("x", "")}})
	within := c.expect(xds.RouteType, "http")
	c.quiet()
	c.ack(within)
	c.gone(xds.VirtualHostType, "http/x")
	c.quiet()
}

func TestOtherRolesHaveNoVirtualHosts(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	x := virtualHost("x", "", "x.test")
	x.Roles = xds.RoleGateway
	r.set(x)
	c := r.connect(t, delta, "mesh")
	c.subscribe(xds.VirtualHostType)
	c.take(xds.VirtualHostType)
	c.quiet()
}

// BenchmarkRouteChange is one route of many changed, on its way to ten gateways over loopback: in a route configuration with all of
// them, or as a virtual host of its own. B/client is what each is sent; cpu-ns/client counts both ends.
func BenchmarkRouteChange(b *testing.B) {
	const clients = 10
	for _, n := range []int{100, 10_000} {
		for name, typeURL := range map[string]string{"inline": xds.RouteType, "vhds": xds.VirtualHostType} {
			b.Run(fmt.Sprintf("routes=%d/%s", n, name), func(b *testing.B) {
				r := serve(b, xds.Options{})
				first, changes := manyRoutes(n, name == "vhds")
				r.set(first...)
				var arrived atomic.Int64
				for range clients {
					stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial(b)).DeltaAggregatedResources(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					go follows(stream, typeURL, &arrived)
				}
				all := func(rounds int) {
					for arrived.Load() < int64(rounds*clients) {
						time.Sleep(20 * time.Microsecond)
					}
				}
				all(1)
				rounds, sent, used := 1, r.Stats().Bytes, cpu()
				for b.Loop() {
					r.set(changes[rounds%2])
					rounds++
					all(rounds)
				}
				b.ReportMetric(float64(cpu()-used)/float64(b.N*clients), "cpu-ns/client")
				b.ReportMetric(float64(r.Stats().Bytes-sent)/float64(b.N*clients), "B/client")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clients), "ns/client")
			})
		}
	}
}

// manyRoutes is n virtual hosts of some 350 bytes, and the first of them, or what it is in, in two versions.
func manyRoutes(n int, apart bool) (first []*xds.Resource, changes [2]*xds.Resource) {
	for version := range changes {
		config := &routev3.RouteConfiguration{Name: "http"}
		var hosts []*xds.Resource
		for i := range n {
			text := strings.Repeat("x", 300)
			if i == 0 {
				text += fmt.Sprint(version)
			}
			name := fmt.Sprintf("ns:h%d", i)
			vh := &routev3.VirtualHost{Name: "http/" + name, Domains: []string{fmt.Sprintf("h%d.test", i)}, Routes: []*routev3.Route{{Name: text}}}
			config.VirtualHosts = append(config.VirtualHosts, vh)
			if apart && (version == 0 || i == 0) {
				hosts = append(hosts, made(xds.VirtualHostType, vh.GetName(), vh))
			}
		}
		if !apart {
			hosts = []*xds.Resource{made(xds.RouteType, "http", config)}
		}
		if changes[version] = hosts[0]; version == 0 {
			first = hosts
		}
	}
	return first, changes
}

// follows takes and acknowledges everything of a type, and counts the responses.
func follows(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, typeURL string, arrived *atomic.Int64) {
	_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Cluster: "gateway"}, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"},
	})
	for {
		got, err := stream.Recv()
		if err != nil {
			return
		}
		_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: got.GetNonce()})
		arrived.Add(1)
	}
}
