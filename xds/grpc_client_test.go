package xds_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	grpcxds "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// backend answers health checks, and counts them.
type backend struct {
	grpc_health_v1.UnimplementedHealthServer
	address *net.TCPAddr
	calls   chan struct{}
}

func (b *backend) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	b.calls <- struct{}{}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func startBackend(t *testing.T) *backend {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{address: socket.Addr().(*net.TCPAddr), calls: make(chan struct{}, 100_000)}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, b)
	go func() { _ = server.Serve(socket) }()
	t.Cleanup(server.Stop)
	return b
}

// service is what a proxyless client needs to reach backends: a cluster each.
func service(host string, weights map[string]uint32, backends map[string]*backend) []*resource.Resource {
	router := &hcmv3.HttpFilter{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&routerv3.Router{})}}
	split := &routev3.WeightedCluster{}
	var all []*resource.Resource
	for name, weight := range weights {
		split.Clusters = append(split.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(weight)})
		all = append(all, grpcCluster(name), grpcEndpoints(name, backends[name]))
	}
	return append(all,
		made(resource.ListenerType, host, &listenerv3.Listener{
			Name: host, ApiListener: &listenerv3.ApiListener{ApiListener: anyOf(&hcmv3.HttpConnectionManager{
				RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "ns/route", ConfigSource: adsSource()}},
				HttpFilters:    []*hcmv3.HttpFilter{router},
			})},
		}),
		made(resource.RouteType, "ns/route", &routev3.RouteConfiguration{
			Name: "ns/route", VirtualHosts: []*routev3.VirtualHost{{
				Name: "all", Domains: []string{"*"},
				Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: split},
					}},
				}},
			}},
		}))
}

func grpcCluster(name string) *resource.Resource {
	return made(resource.ClusterType, name, &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
		LbPolicy:         clusterv3.Cluster_ROUND_ROBIN,
		LrsServer:        &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}},
	})
}

func grpcEndpoints(name string, b *backend) *resource.Resource {
	return made(resource.EndpointType, name, &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality: &corev3.Locality{Zone: "pods"}, LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
						Address: b.address.IP.String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(b.address.Port)},
					}}},
				}},
			}},
		}},
	})
}

// greeter connects a proxyless client to the service of that name.
func (r *rig) greeter(t *testing.T) *grpc.ClientConn {
	t.Helper()
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}],"server_features":["xds_v3"]}],"node":{"id":"c1","cluster":"mesh"}}`, r.address))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///greeter", grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestProxylessClientReportsItsLoad(t *testing.T) {
	options, reports := collect(xds.Options{LoadInterval: 20 * time.Millisecond})
	r := serve(t, options)
	began := time.Now()
	r.set(service("greeter", map[string]uint32{"ns/one": 100}, map[string]*backend{"ns/one": startBackend(t)})...)
	conn := r.greeter(t)
	health := grpc_health_v1.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const calls = 100
	for range calls {
		if _, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := health.List(ctx, &grpc_health_v1.HealthListRequest{}); err == nil {
		t.Fatal("a call that nobody answers succeeded")
	}
	want := resource.ClusterLoad{Cluster: "ns/one", Zone: "pods", Issued: calls + 1, Succeeded: calls, Failed: 1}
	var sum resource.ClusterLoad
	for sum != want {
		report := await(t, "a report", reports)
		if report.Role != contract.RoleMesh || report.Client != "c1" || report.Ended {
			t.Fatalf("got %+v", report)
		}
		for _, l := range report.Clusters {
			// A client that was held up reports late, and then again at once.
			if l.Interval <= 0 || l.Interval > time.Since(began) || l.Averaged {
				t.Errorf("got %+v", l)
			}
			sum.Cluster, sum.Zone = l.Cluster, l.Zone
			sum.Issued, sum.Succeeded, sum.Failed = sum.Issued+l.Issued, sum.Succeeded+l.Succeeded, sum.Failed+l.Failed
		}
	}
	conn.Close()
	for !await(t, "the stream to end", reports).Ended {
		continue
	}
}

func TestProxylessClientFollowsASplitWithoutAFailedCall(t *testing.T) {
	r := serve(t, xds.Options{Wait: 2 * time.Second})
	backends := map[string]*backend{"ns/one": startBackend(t), "ns/two": startBackend(t)}
	state := service("greeter", map[string]uint32{"ns/one": 100}, backends)
	r.set(state...)
	conn := r.greeter(t)
	health := grpc_health_v1.NewHealthClient(conn)
	routed := "ns/one"
	call := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		// grpc-go puts new routes in force a moment before the balancers of their clusters, whatever the server does.
		// and forgets a cluster that routes have left before its balancer does.
		text := status.Convert(err).Message()
		if text == fmt.Sprintf("unknown cluster selected for RPC: %q", "cluster:"+routed) ||
			strings.Contains(text, "in XDSConfig") && strings.Contains(text, "did not find the cluster") {
			return
		}
		if err != nil {
			t.Fatalf("a call failed: %v", err)
		}
	}
	call()

	// All traffic moves from one to the other and back, and the cluster that it left goes.
	names := []string{"ns/one", "ns/two"}
	for i := range 20 {
		from, to := names[i%2], names[(i+1)%2]
		routed = to
		r.Apply(resource.Update{
			Set:     service("greeter", map[string]uint32{to: 100}, backends),
			Removed: []*resource.Resource{grpcCluster(from), grpcEndpoints(from, backends[from])},
		})
		for before := len(backends[to].calls); len(backends[to].calls) == before; {
			call()
		}
	}

	// A split by weight.
	routed = "ns/two"
	r.set(service("greeter", map[string]uint32{"ns/one": 70, "ns/two": 30}, backends)...)
	one, two := backends["ns/one"], backends["ns/two"] // two has no share now
	for before := len(two.calls); len(two.calls) == before; {
		call()
	}
	routed = ""
	before := len(one.calls)
	const calls = 4000
	for range calls {
		call()
	}
	if share := float64(len(one.calls)-before) / calls; share < 0.66 || share > 0.74 {
		t.Errorf("%.0f %% of calls went to the revision with 70 %%", 100*share)
	}
	if nacks := r.Stats().Nacks; nacks > 0 {
		t.Errorf("%d rejections", nacks)
	}
}
