package clients

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/cmd/sluice/sample"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// rig is an xDS server in this process with handmade resources: `sluice up` sends none that a client NACKs.
type rig struct {
	*xds.Server
	t       *testing.T
	address string
	backend netip.AddrPort

	mu       sync.Mutex
	rejected []resource.Nack
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = socket.Addr().String()
	r.Server = xds.New(xds.Options{Nacked: func(n resource.Nack) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rejected = append(r.rejected, n)
	}})
	carrier := grpc.NewServer(xds.ServerOptions()...)
	r.Register(carrier)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = carrier.Serve(socket) })
	r.backend = netip.MustParseAddrPort(address.Free(t))
	done.Go(func() {
		if err := sample.Run(ctx,
			sample.Options{Address: r.backend.String(), Target: "World", Revision: "backend", Drain: time.Second}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		carrier.Stop()
		r.Close()
		done.Wait()
	})
	return r
}

// rejections returns the NACKs of clients so far.
func (r *rig) rejections() []resource.Nack {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rejected)
}

// resource makes a resource for all roles. Its version is a hash of its content.
func (r *rig) resource(typeURL, name string, m proto.Message) *resource.Resource {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return &resource.Resource{
		Type: typeURL, Name: name, Body: body, Version: fmt.Sprintf("%x", sha256.Sum256(body)),
		Roles: contract.RoleGateway | contract.RoleMesh,
	}
}

func (r *rig) anyOf(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// cluster makes a cluster that every client acknowledges.
func (r *rig) cluster(name string, timeout time.Duration) *resource.Resource {
	return r.resource(resource.ClusterType, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": r.anyOf(&upstreamsv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						},
					},
				},
			}),
		},
	})
}

// badCluster makes a cluster that every client NACKs: a DNS cluster must name exactly one host, and this one names none.
func (r *rig) badCluster(name string) *resource.Resource {
	return r.resource(resource.ClusterType, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS},
	})
}

func (r *rig) endpoints(name string) *resource.Resource {
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: r.backend.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(r.backend.Port())},
	}}}
	return r.resource(resource.EndpointType, name, &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality: &corev3.Locality{Zone: "pods"}, LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
			}},
		}},
	})
}

// routes make a route of each host to the cluster of its name. Proxyless clients have a listener for each host, gateways have one.
func (r *rig) routes(gateway string, hosts ...string) []*resource.Resource {
	config := &routev3.RouteConfiguration{Name: "routes"}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "routes", ConfigSource: ads()}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: r.anyOf(&routerv3.Router{})},
		}},
	}
	var all []*resource.Resource
	for _, host := range hosts {
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name: host, Domains: []string{host},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: host},
				}},
			}},
		})
		l := r.resource(resource.ListenerType, host, &listenerv3.Listener{
			Name: host, ApiListener: &listenerv3.ApiListener{ApiListener: r.anyOf(manager)},
		})
		l.Roles = contract.RoleMesh
		all = append(all, l)
	}
	at := netip.MustParseAddrPort(gateway)
	l := r.resource(resource.ListenerType, "http", &listenerv3.Listener{
		Name: "http",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: r.anyOf(manager)},
		}}}},
	})
	l.Roles = contract.RoleGateway
	return append(all, l, r.resource(resource.RouteType, "routes", config))
}

// answers waits until calls to a host are answered.
func (r *rig) answers(c caller, host string) {
	r.t.Helper()
	eventually(r.t, host+" answers", func() error {
		if got := c.call(r.t, host, 5); got.answered() != 5 {
			return fmt.Errorf("calls ended %v", got.Errors)
		}
		return nil
	})
}

// rejects waits until a client has NACKed a cluster. Some clients name it in their text; grpc-js gives its index in the response.
func (r *rig) rejects(name string) {
	r.t.Helper()
	eventually(r.t, "the client rejects "+name, func() error {
		for _, n := range r.rejections() {
			if slices.Contains(n.Names, name) && n.Type == resource.ClusterType {
				return nil
			}
		}
		return fmt.Errorf("rejections %+v", r.rejections())
	})
}

// A client that NACKs a cluster keeps the version that it has, acknowledges everything else, and acknowledges the cluster when it is
// valid again. The server does not send the invalid version again.
func TestClientsReject(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if why, ok := f.cannot["nack"]; ok {
				t.Skipf("skipped: %s cannot: %s", f.name, why)
			}
			r := newRig(t)
			gateway := address.Free(t)
			r.Apply(resource.Update{Set: append(r.routes(gateway, "good", "worse"),
				r.cluster("good", time.Second), r.endpoints("good"), r.cluster("worse", time.Second), r.endpoints("worse"))})
			c := f.start(t, r.address, gateway)
			r.answers(c, "good")
			r.answers(c, "worse")
			if rejections := r.rejections(); len(rejections) > 0 {
				t.Fatalf("the client NACKed valid resources: %+v", rejections)
			}
			calls := pour(t, c, "good")

			r.Apply(resource.Update{Set: []*resource.Resource{r.badCluster("worse")}})
			r.rejects("worse")
			if got := c.call(t, "worse", 50); got.answered() != 50 {
				t.Errorf("after the NACK %d of 50 calls were answered by the cluster's version before: %v", got.answered(), got.Errors)
			}
			// Other resources change meanwhile, among them a new service.
			r.Apply(resource.Update{Set: append(r.routes(gateway, "good", "worse", "new"),
				r.cluster("good", 2*time.Second), r.cluster("new", time.Second), r.endpoints("new"))})
			r.answers(c, "new")
			before := len(r.rejections())
			r.Apply(resource.Update{Set: []*resource.Resource{r.cluster("worse", 3*time.Second)}})
			r.answers(c, "worse")
			// The server has not sent the invalid cluster again, not even with all clusters in state of the world.
			if before > 1 {
				t.Errorf("%d rejections of one cluster: %+v", before, r.rejections())
			}
			if sum := calls.stop(); sum.failed(f.own) > 0 {
				t.Errorf("calls to another service failed meanwhile: %v", sum.Errors)
			}
			t.Logf("%d rejections, the first: %s", len(r.rejections()), r.rejections()[0].Text)
		})
	}
}
