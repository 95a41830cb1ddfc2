package main

import (
	"hash/fnv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/xds/resource"
)

// urls are the types of the resources in a state.
var urls = []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}

// message is a resource from a harness. Only its name counts.
type message interface {
	proto.Message
	ValidateAll() error
}

// nameOf returns the name of a resource from the harness.
func nameOf(url string, body []byte) (string, error) {
	resource, err := (&anypb.Any{TypeUrl: url, Value: body}).UnmarshalNew()
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "opening a resource of type %q: %v", url, err)
	}
	switch r := resource.(type) {
	case *clusterv3.Cluster:
		return r.GetName(), nil
	case *endpointv3.ClusterLoadAssignment:
		return r.GetClusterName(), nil
	case *listenerv3.Listener:
		return r.GetName(), nil
	case *routev3.RouteConfiguration:
		return r.GetName(), nil
	}
	return "", unknown(url)
}

func unknown(url string) error {
	return status.Errorf(codes.InvalidArgument, "type URL %q is none of %q", url, urls)
}

// newResource generates a resource. Its content depends on name and version alone, and differs between versions.
func newResource(url, name, version string) (*resource.Resource, error) {
	if version == "" {
		return nil, status.Errorf(codes.InvalidArgument, "%s %q has no version: give one", url, name)
	}
	content, err := contentOf(url, name, version)
	if err != nil {
		return nil, err
	}
	if err := content.ValidateAll(); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s %q of version %q would not be valid: %v", url, name, version, err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "writing %s %q of version %q: %v", url, name, version, err)
	}
	return &resource.Resource{Type: url, Name: name, Version: version, Body: body, Roles: everyRole}, nil
}

// contentOf generates a resource that needs no other: a cluster contains its endpoints and a listener its routes. Otherwise the
// server would wait for a client that subscribes to only one type to subscribe to another.
func contentOf(url, name, version string) (message, error) {
	switch url {
	case resource.ClusterType:
		return &clusterv3.Cluster{
			Name: name, AltStatName: name + "@" + version,
			ConnectTimeout:       durationpb.New(5 * time.Second),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment:       assignment(name, version),
		}, nil
	case resource.EndpointType:
		return assignment(name, version), nil
	case resource.ListenerType:
		return listener(name, version)
	case resource.RouteType:
		return routes(name, version), nil
	}
	return nil, unknown(url)
}

func assignment(name, version string) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality:            &corev3.Locality{Zone: version},
			LoadBalancingWeight: wrapperspb.UInt32(1),
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(name)}},
			}},
		}},
	}
}

// address returns a loopback address whose port is a hash of the name.
func address(name string) *corev3.Address {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 20000 + sum.Sum32()%10000},
	}}}
}

func routes(name, version string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header: &corev3.HeaderValue{Key: "x-version", Value: version},
		}},
		VirtualHosts: []*routev3.VirtualHost{{
			Name: name, Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
				}},
			}},
		}},
	}
}

func listener(name, version string) (*listenerv3.Listener, error) {
	router, err := anypb.New(&routerv3.Router{})
	if err != nil {
		return nil, err
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(name, version)},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	}
	if err := manager.ValidateAll(); err != nil { // ValidateAll of the listener does not check it
		return nil, status.Errorf(codes.InvalidArgument, "listener %q of version %q would not be valid: %v", name, version, err)
	}
	config, err := anypb.New(manager)
	if err != nil {
		return nil, err
	}
	return &listenerv3.Listener{
		Name: name, Address: address(name),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config},
		}}}},
	}, nil
}
