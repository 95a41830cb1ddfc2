package translator

import (
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	tagsv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

const (
	// exportTimeout bounds how long Envoy waits for the collector's answer.
	exportTimeout = 10 * time.Second
	// cachedSpans is how many spans Envoy keeps for a collector that is slow or away; it drops the rest.
	cachedSpans = 2048
	// collectorStats begins the names of the collector's statistics, in place of its URL.
	collectorStats = "collector"
	million        = 1_000_000
)

// tracer is Envoy's OpenTelemetry tracer. Its sampler follows the traceparent of a request, and decides where there is none.
func tracer(in model.Tracing, service string) *tracev3.OpenTelemetryConfig {
	root := &samplersv3.TraceIdRatioBasedSamplerConfig{SamplingPercentage: &typev3.FractionalPercent{
		Numerator: uint32(max(1, math.Round(in.SamplingRate*million))), Denominator: typev3.FractionalPercent_MILLION,
	}}
	config := &tracev3.OpenTelemetryConfig{
		ServiceName: service, MaxCacheSize: wrapperspb.UInt32(cachedSpans),
		Sampler: extension("envoy.tracers.opentelemetry.samplers.parent_based", &samplersv3.ParentBasedSamplerConfig{
			WrappedSampler: extension("envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", root),
		}),
	}
	if in.Protocol == model.TracingGRPC {
		config.GrpcService = &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: in.Server()}},
			Timeout:         durationpb.New(exportTimeout),
		}
		return config
	}
	config.HttpService = &corev3.HttpService{HttpUri: &corev3.HttpUri{
		Uri: in.Endpoint, Timeout: durationpb.New(exportTimeout),
		HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: in.Server()},
	}}
	return config
}

// tracing has a listener record spans. Envoy's own attributes (http.url, http.method …) are joined by those that activators and
// queue-proxies record. A path length of 0 keeps the query, which may hold secrets, out of http.url.
func tracing(in model.Tracing) *hcmv3.HttpConnectionManager_Tracing {
	return &hcmv3.HttpConnectionManager_Tracing{
		Provider: &tracev3.Tracing_Http{
			Name:       "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: anyOf(tracer(in, contract.Gateway))},
		},
		ClientSampling:   &typev3.Percent{}, // a client cannot ask for a span by Envoy's headers
		MaxPathTagLength: wrapperspb.UInt32(0),
		CustomTags: []*tagsv3.CustomTag{
			headerTag("http.request.method", ":method"), headerTag("server.address", ":authority"),
			headerTag("k8s.namespace.name", contract.NamespaceHeader), headerTag("kn.revision.name", contract.RevisionHeader),
		},
	}
}

func headerTag(tag, header string) *tagsv3.CustomTag {
	return &tagsv3.CustomTag{Tag: tag, Type: &tagsv3.CustomTag_RequestHeader{RequestHeader: &tagsv3.CustomTag_Header{Name: header}}}
}

func extension(name string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: anyOf(config)}
}

// collector is the cluster of the collector. Its name is the collector's scheme, host and port, by which the built-in gateway and
// activators find it.
func collector(in model.Tracing, roots string) *clusterv3.Cluster {
	host, port := "", 0
	if u, err := url.Parse(in.Server()); err == nil {
		host = u.Hostname()
		port, _ = strconv.Atoi(u.Port()) // 0 is refused as all that is not valid
	}
	c := &clusterv3.Cluster{
		Name: in.Server(), AltStatName: collectorStats, ConnectTimeout: durationpb.New(connectTimeout),
		WaitForWarmOnInit:    wrapperspb.Bool(false), // no request needs the collector
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS},
		DnsLookupFamily:      clusterv3.Cluster_ALL,
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: in.Server(),
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(host, port)}},
			}}}},
		},
	}
	if _, err := netip.ParseAddr(host); err == nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	}
	if in.Secure() {
		c.TransportSocket = collectorTLS(host, in.Protocol, roots)
	}
	if in.Protocol == model.TracingGRPC {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyOf(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						},
					},
				},
			}),
		}
	}
	return c
}

// collectorTLS has Envoy check that a collector has a certificate of these authorities for its name.
func collectorTLS(host string, protocol model.TracingProtocol, roots string) *corev3.TransportSocket {
	name := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}},
	}
	tls := &tlsv3.UpstreamTlsContext{Sni: host}
	if _, err := netip.ParseAddr(host); err == nil {
		name.SanType, tls.Sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	}
	tls.CommonTlsContext = &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: roots}},
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{name},
		}},
	}
	if protocol == model.TracingGRPC {
		tls.CommonTlsContext.AlpnProtocols = []string{"h2"}
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: anyOf(tls)},
	}
}

// collectable says whether the collector can be reached. Envoy must know the authorities of a collector over TLS: it would trust everybody
// without.
func collectable(in model.Gateway) bool {
	return in.Tracing.On() && (!in.Tracing.Secure() || in.CollectorRoots != "")
}

// addTracing makes what the data plane needs to send spans: the cluster of the collector for Envoy, and for activators the tracer alone.
func (p *gatewayPart) addTracing() {
	if !collectable(p.in) {
		if p.in.Tracing.On() {
			p.report(contract.TracingExtension, "UnknownAuthorities",
				"no spans are sent: the authorities of "+p.in.Tracing.Server()+" are not known")
		}
		return
	}
	var b resourceBuilder
	b.add(ClusterType, p.in.Tracing.Server(), RoleGateway, collector(p.in.Tracing, p.in.CollectorRoots))
	b.add(ExtensionType, contract.TracingExtension, RoleActivator,
		extension(contract.TracingExtension, tracer(p.in.Tracing, contract.Activator)))
	if b.err != nil {
		p.report(contract.TracingExtension, "InvalidResource", b.err.Error())
	}
	p.tracing = b.resources
}
