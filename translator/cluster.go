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

// connectTimeout leaves room for one lost SYN, which is sent again after a second.
const connectTimeout = 2 * time.Second

// Limits on the head of a response. Envoy's own, 100 fields and 60 KiB, are less than applications have.
const (
	maxResponseHeaders   = 1000
	maxResponseHeadersKB = 256
)

// manner is how a cluster's endpoints are spoken to.
type manner struct {
	protocol model.Protocol
	// direct is that no queue-proxy stands before the applications.
	direct bool
}

// edsCluster is a cluster whose endpoints come by EDS under its own name.
//
// The protocol to the endpoints is the one that the container speaks, whatever the client spoke: a container on http1
// never learnt HTTP/2, and gRPC needs h2c, which its port must say. Of h2c a queue-proxy takes HTTP/1.1 as well, and so it gets the
// client's: a WebSocket of HTTP/1.1 would be extended CONNECT otherwise, which no queue-proxy takes. The policy is ROUND_ROBIN because C-core knew no
// other for long; the circuit breakers are open wide because a bounded queue with a limit stands before every replica.
func edsCluster(name string, m manner) *clusterv3.Cluster {
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

// options are those of the connections to the endpoints.
//
// Whoever reuses a connection must give it up before the other side does, or a request meets one that is being closed, and nobody
// may send it again. Queue-proxies and activators keep theirs for longer than Envoy. What an application does nobody knows, and
// Envoy cannot tell whether it has seen a request; so without a queue-proxy before it each request has a connection of its own.
// HTTP/2 has no need of that: there a server says which requests it has not looked at.
func (m manner) options() *httpv3.HttpProtocolOptions {
	common := &corev3.HttpProtocolOptions{
		IdleTimeout:          durationpb.New(model.IdleClient),
		MaxHeadersCount:      wrapperspb.UInt32(maxResponseHeaders),
		MaxResponseHeadersKb: wrapperspb.UInt32(maxResponseHeadersKB),
	}
	options := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: common}
	http1 := &corev3.Http1ProtocolOptions{EnableTrailers: true}
	h2 := &corev3.Http2ProtocolOptions{AllowConnect: true}
	if !m.direct { // a gRPC server ends connections on which it is asked this more often than it likes
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: durationpb.New(model.PingInterval), Timeout: durationpb.New(model.PingTimeout),
		}
	}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	switch {
	case m.protocol == model.H2C && !m.direct:
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: http1, Http2ProtocolOptions: h2},
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

// outlierDetection leaves an endpoint alone for some seconds after several attempts in a row that failed to connect, lost the connection
// or ran out of time. What an application answers does not count, whatever it is. All endpoints of a priority may be ejected, for
// then the next one is used; when nothing else is left Envoy asks the ejected ones all the same, and so no request fails by it.
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
	// ejection is for how long an endpoint is ejected the first time, longestEjection the most that it comes to by repetition.
	ejection        = 5 * time.Second
	longestEjection = 15 * time.Second
	// ejectionInterval is how often Envoy looks, for each cluster, whether these times have passed. Ten thousand clusters that sleep cost
	// half a percent of a core by it, and five kilobytes of memory each.
	ejectionInterval = 10 * time.Second
)

// ads is the stream that the resource which says so came from.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}
