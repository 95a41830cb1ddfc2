package translator

import (
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/model"
)

// Limits of the gateway for clients. The stream and window sizes are those of Envoy's best practices for an edge proxy
// (docs/configuration/best_practices/edge), but for the number of streams: gRPC clients send all their calls on one connection.
const (
	maxRequestHeadersKB     = 64
	maxRequestHeaders       = 100
	requestHeadersTimeout   = 10 * time.Second
	connectionIdleTimeout   = time.Hour
	maxConcurrentStreams    = 1000
	initialStreamWindow     = 64 << 10
	initialConnectionWindow = 1 << 20
)

// newListener is a listener of the gateway without TLS. Requests may take and pause as long as their route allows: WebSocket and gRPC
// streams live for hours, so an idle stream is not ended. Envoy changes nothing that clients and applications say to each other;
// docs/http.md lists the exceptions and why.
func newListener(name string, address netip.AddrPort, in model.Gateway) *listenerv3.Listener {
	routes := name
	if name == listenerHTTPS {
		routes = listenerHTTP
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: rds(routes),
		HttpFilters:    []*hcmv3.HttpFilter{edgeRouter()},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:     durationpb.New(connectionIdleTimeout),
			MaxHeadersCount: wrapperspb.UInt32(maxRequestHeaders),
		},
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{AcceptHttp_10: true, EnableTrailers: true},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			AllowConnect:                true, // WebSocket over HTTP/2, RFC 8441
			MaxConcurrentStreams:        wrapperspb.UInt32(maxConcurrentStreams),
			InitialStreamWindowSize:     wrapperspb.UInt32(initialStreamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(initialConnectionWindow),
		},
		MaxRequestHeadersKb:   wrapperspb.UInt32(maxRequestHeadersKB),
		RequestHeadersTimeout: durationpb.New(requestHeadersTimeout),
		StreamIdleTimeout:     durationpb.New(0),
		UseRemoteAddress:      wrapperspb.Bool(true),
		// The application says whether it wants a body, and its Server header is kept.
		Proxy_100Continue:          true,
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		StripTrailingHostDot:       true,
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if collectable(in) {
		manager.Tracing = tracing(in.Tracing)
	}
	if isScoped(in) {
		manager.RouteSpecifier = scopedRoutes(routes)
		manager.HttpFilters = []*hcmv3.HttpFilter{lowerCase(), edgeRouter()}
	}
	return &listenerv3.Listener{
		Name:    name,
		Address: socketAddress(address.Addr().String(), int(address.Port())),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyOf(manager)},
		}}}},
	}
}

// edgeRouter is a router that adds no headers of Envoy's own, and does not count responses by cluster and status code: Envoy finds each of
// those counters by its name for each response, which is a twentieth of all that it does for a request (decision 30).
func edgeRouter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&routerv3.Router{
			SuppressEnvoyHeaders: true, DynamicStats: wrapperspb.Bool(false),
		})},
	}
}
