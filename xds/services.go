package xds

import (
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// service is a discovery service of one type, for clients that open a stream for each type.
//
// The server keeps the order of types within a stream, but not between the streams of a client: nothing of the make stage is held back
// or kept on one stream because of another. So a client that takes only clusters gets the removal of one at once, and a client
// that takes only routes gets them at once. Make before break is for clients that subscribe to all types on one stream, as Envoy's
// documentation has it. Everything else holds on these streams too: names and wildcards, nonces, versions, NACKs, limits, roles.
type service struct {
	name string // full name of the gRPC service
	noun string // of its methods: StreamClusters, DeltaClusters
	url  string
}

// services are described here rather than by generated code because they differ in nothing else. gRPC does not know their unary Fetch
// methods, and answers these as not implemented.
var services = []service{
	{name: "envoy.service.cluster.v3.ClusterDiscoveryService", noun: "Clusters", url: resource.ClusterType},
	{name: "envoy.service.endpoint.v3.EndpointDiscoveryService", noun: "Endpoints", url: resource.EndpointType},
	{name: "envoy.service.secret.v3.SecretDiscoveryService", noun: "Secrets", url: resource.SecretType},
	{name: "envoy.service.listener.v3.ListenerDiscoveryService", noun: "Listeners", url: resource.ListenerType},
	{name: "envoy.service.route.v3.RouteDiscoveryService", noun: "Routes", url: resource.RouteType},
	{name: "envoy.service.route.v3.ScopedRoutesDiscoveryService", noun: "ScopedRoutes", url: resource.ScopedRouteType},
}

// describe is the service as gRPC knows it; a Server implements it.
func (v service) describe() *grpc.ServiceDesc {
	bidirectional := func(name string, handler grpc.StreamHandler) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name + v.noun, Handler: handler, ServerStreams: true, ClientStreams: true}
	}
	desc := &grpc.ServiceDesc{ServiceName: v.name, HandlerType: (*any)(nil)}
	desc.Streams = append(desc.Streams, bidirectional("Delta", func(server any, stream grpc.ServerStream) error {
		typed := grpc.GenericServerStream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{ServerStream: stream}
		return server.(*Server).serve(stream.Context(), oneType{deltaWire{&typed}, v.url})
	}))
	desc.Streams = append(desc.Streams, bidirectional("Stream", func(server any, stream grpc.ServerStream) error {
		typed := grpc.GenericServerStream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ServerStream: stream}
		return server.(*Server).serve(stream.Context(), oneType{sotwWire{&typed}, v.url})
	}))
	return desc
}

// oneType limits a protocol to one type, which a request need not name.
type oneType struct {
	wire
	url string
}

func (o oneType) receive() (*session.Request, error) {
	r, err := o.wire.receive()
	if err != nil {
		return nil, err
	}
	if r.Type == "" {
		r.Type = o.url
	}
	if r.Type != o.url {
		return nil, status.Errorf(codes.InvalidArgument,
			"this stream is of type_url %q alone, not %.256q: leave type_url empty, or ask the aggregated discovery service", o.url, r.Type)
	}
	return r, nil
}

func (o oneType) oneType() string { return o.url }
