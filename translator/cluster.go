package translator

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/model"
)

// connectTimeout leaves room for one lost SYN, which TCP repeats after a second.
const connectTimeout = 2 * time.Second

// Limits on the head of a response. Envoy's defaults, 100 fields and 60 KiB, are less than applications send.
const (
	maxResponseHeaders   = 1000
	maxResponseHeadersKB = 256
)

// upstreamProtocol is how gateways and clients connect to a cluster's endpoints.
type upstreamProtocol struct {
	protocol model.Protocol
	// direct says that the applications have no queue-proxy.
	direct bool
}

// edsCluster is a cluster whose endpoints come by EDS under its own name.
//
// The protocol to the endpoints is the container's, whatever the client's is. A container on http1 may not understand HTTP/2, and gRPC
// needs h2c, which the container's port must name. A queue-proxy of an h2c container takes HTTP/1.1 too, and so gets the client's protocol:
// otherwise Envoy would translate a WebSocket of HTTP/1.1 into extended CONNECT, which queue-proxies do not accept. The policy is
// ROUND_ROBIN because older C-core knows no other. The circuit breakers have high limits because each replica has a bounded queue with a
// concurrency limit.
func edsCluster(name string, m upstreamProtocol) *clusterv3.Cluster {
	unlimited := wrapperspb.UInt32(math.MaxUint32)
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: unlimited, MaxPendingRequests: unlimited, MaxRequests: unlimited, MaxRetries: unlimited,
		}}},
		OutlierDetection: outlierDetection(),
		LrsServer:        &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{}}},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes:   wrapperspb.UInt32(model.KeepaliveProbes),
			KeepaliveTime:     wrapperspb.UInt32(uint32(model.KeepaliveIdle.Seconds())),
			KeepaliveInterval: wrapperspb.UInt32(uint32(model.KeepaliveInterval.Seconds())),
		}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyOf(m.options()),
		},
	}
}

// options are the HTTP options of the connections to the endpoints.
//
// The side that reuses a connection must close it before the other side does, or a request meets a connection that is being closed, and may
// not be retried. Queue-proxies and activators keep idle connections for longer than Envoy. How long an application keeps one is unknown,
// so without a queue-proxy each HTTP/1.1 request has a connection of its own. HTTP/2 does not need that: the server says which requests it
// has not processed.
func (m upstreamProtocol) options() *httpv3.HttpProtocolOptions {
	common := &corev3.HttpProtocolOptions{
		IdleTimeout:          durationpb.New(model.IdleClient),
		MaxHeadersCount:      wrapperspb.UInt32(maxResponseHeaders),
		MaxResponseHeadersKb: wrapperspb.UInt32(maxResponseHeadersKB),
	}
	options := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: common}
	http1 := &corev3.Http1ProtocolOptions{EnableTrailers: true}
	h2 := &corev3.Http2ProtocolOptions{AllowConnect: true}
	if !m.direct { // a gRPC server closes connections on which it is pinged too often
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: durationpb.New(model.PingInterval), Timeout: durationpb.New(model.PingTimeout),
		}
	}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	switch {
	case m.protocol == model.H2C && !m.direct:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: http1, Http2ProtocolOptions: h2,
			},
		}
		return options
	case m.protocol == model.H2C:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2}
	default:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: http1}
		if m.direct {
			common.MaxRequestsPerConnection = wrapperspb.UInt32(1)
		}
	}
	options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	return options
}

// outlierDetection ejects an endpoint for some seconds after several attempts in a row that failed to connect, lost the connection or timed
// out. The status of an application's response does not count. All endpoints of a priority may be ejected, since Envoy then uses the next
// priority. When all are ejected, Envoy uses them nevertheless, so that no request fails by it.
func outlierDetection() *clusterv3.OutlierDetection {
	never := func() *wrapperspb.UInt32Value { return wrapperspb.UInt32(0) }
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:  true,
		ConsecutiveLocalOriginFailure:   wrapperspb.UInt32(ejectAfter),
		EnforcingConsecutive_5Xx:        never(),
		EnforcingSuccessRate:            never(),
		EnforcingLocalOriginSuccessRate: never(),
		Interval:                        durationpb.New(ejectionInterval),
		BaseEjectionTime:                durationpb.New(ejection),
		MaxEjectionTime:                 durationpb.New(longestEjection),
		MaxEjectionPercent:              wrapperspb.UInt32(100),
	}
}

const (
	// ejectAfter is how many attempts in a row must fail before an endpoint is ejected.
	ejectAfter = 5
	// ejection is how long an endpoint is ejected the first time, longestEjection the maximum after repetitions.
	ejection        = 5 * time.Second
	longestEjection = 15 * time.Second
	// ejectionInterval is how often Envoy checks, for each cluster, whether these times have passed. For ten thousand sleeping
	// clusters that costs half a percent of a core, and five kilobytes of memory each.
	ejectionInterval = 10 * time.Second
)

// ads refers to the stream that the resource itself came from.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}
