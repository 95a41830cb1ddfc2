package xds_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// BenchmarkRouteChange is one route of many changed, on its way to ten gateways over loopback: in a route configuration with all of
// them, or as a scope of its own. B/client is what each is sent; cpu-ns/client counts both ends.
func BenchmarkRouteChange(b *testing.B) {
	const clients = 10
	for _, n := range []int{100, 10_000} {
		for name, typeURL := range map[string]string{"inline": resource.RouteType, "scoped": resource.ScopedRouteType} {
			b.Run(fmt.Sprintf("routes=%d/%s", n, name), func(b *testing.B) {
				r := serve(b, xds.Options{})
				first, changes := manyRoutes(n, name == "scoped")
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

// manyRoutes is the routes of n hosts, some 350 bytes each, and those of the first, or what they are in, in two versions.
func manyRoutes(n int, apart bool) (first []*resource.Resource, changes [2]*resource.Resource) {
	for version := range changes {
		config := &routev3.RouteConfiguration{Name: "http"}
		var hosts []*resource.Resource
		for i := range n {
			text := strings.Repeat("x", 300)
			if i == 0 {
				text += fmt.Sprint(version)
			}
			vh := &routev3.VirtualHost{
				Name: fmt.Sprintf("ns/h%d", i), Domains: []string{fmt.Sprintf("h%d.test", i)}, Routes: []*routev3.Route{{Name: text}},
			}
			config.VirtualHosts = append(config.VirtualHosts, vh)
			if apart && (version == 0 || i == 0) {
				hosts = append(hosts, made(resource.ScopedRouteType, vh.GetName(), &routev3.ScopedRouteConfiguration{
					Name: vh.GetName(), RouteConfiguration: &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{vh}},
				}))
			}
		}
		if !apart {
			hosts = []*resource.Resource{made(resource.RouteType, "http", config)}
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
