package xds

import (
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// service is a discovery service of one type, for clients that do not take everything from one stream.
//
// What can be promised is the order within a stream. A client's streams are strangers to each other: nothing of the make stage
// is held back or kept on one stream for what happens on another, so that a client which takes clusters alone is told of the
// removal of one at once, and one which takes routes alone gets them at once. Make before break is for those who ask for all
// types on one stream, as Envoy's own documentation has it. Everything else holds: names and wildcards, nonces, versions,
// refusals, limits, roles.
type service struct {
	name string // full name of the gRPC service
	noun string // of its methods: StreamClusters, DeltaClusters
	url  string
}

// services are described here rather than by generated code because they differ in nothing but this. Their unary Fetch methods
// are unknown to gRPC and so answered as not implemented.
var services = []service{
	{name: "envoy.service.cluster.v3.ClusterDiscoveryService", noun: "Clusters", url: ClusterType},
	{name: "envoy.service.endpoint.v3.EndpointDiscoveryService", noun: "Endpoints", url: EndpointType},
	{name: "envoy.service.secret.v3.SecretDiscoveryService", noun: "Secrets", url: SecretType},
	{name: "envoy.service.listener.v3.ListenerDiscoveryService", noun: "Listeners", url: ListenerType},
	{name: "envoy.service.route.v3.RouteDiscoveryService", noun: "Routes", url: RouteType},
	{name: "envoy.service.route.v3.ScopedRoutesDiscoveryService", noun: "ScopedRoutes", url: ScopedRouteType},
}

// describe is the service as gRPC knows it; a Server implements it.
func (v service) describe() *grpc.ServiceDesc {
	bidirectional := func(name string, handler grpc.StreamHandler) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name + v.noun, Handler: handler, ServerStreams: true, ClientStreams: true}
	}
	desc := &grpc.ServiceDesc{ServiceName: v.name, HandlerType: (*any)(nil)}
	desc.Streams = append(desc.Streams, bidirectional("Delta", func(server any, stream grpc.ServerStream) error {
		wire := deltaWire{&grpc.GenericServerStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{ServerStream: stream}}
		return server.(*Server).serve(stream.Context(), oneType{wire, v.url})
	}))
	desc.Streams = append(desc.Streams, bidirectional("Stream", func(server any, stream grpc.ServerStream) error {
		wire := sotwWire{&grpc.GenericServerStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ServerStream: stream}}
		return server.(*Server).serve(stream.Context(), oneType{wire, v.url})
	}))
	return desc
}

// oneType narrows a protocol to one type, which a request need not name.
type oneType struct {
	wire
	url string
}

func (o oneType) receive() (*request, error) {
	r, err := o.wire.receive()
	if err != nil {
		return nil, err
	}
	if r.url == "" {
		r.url = o.url
	}
	if r.url != o.url {
		return nil, status.Errorf(codes.InvalidArgument,
			"this stream is of type_url %q alone, not %.256q: leave type_url empty, or ask the aggregated discovery service", o.url, r.url)
	}
	return r, nil
}

// isAlone is whether a protocol was narrowed.
func isAlone(w wire) bool {
	_, narrowed := w.(oneType)
	return narrowed
}
