package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/contract"
)

const (
	// xdsCluster is the only cluster that Envoy knows before it is connected.
	xdsCluster = "xds_cluster"
	// connectTimeout is for the connection to the xDS server, its TLS handshake included.
	connectTimeout = 3 * time.Second
	// Envoy closes a connection to the xDS server that is dead: it sends a ping every keepaliveInterval, and waits keepaliveTimeout for the
	// answer. The server must allow that (xds.ServerOptions does), or it closes the connection itself.
	keepaliveInterval = 5 * time.Second
	keepaliveTimeout  = 5 * time.Second
	// Envoy reopens a stream of ADS after a random time, up to firstRetry at first, then twice as much each time, up to lastRetry. Its
	// defaults are half a second and half a minute, which delays changes for long.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
	// defaultConnections is how many connections Envoy takes at a time by default. Without a limit it logs a warning.
	defaultConnections = 100_000
	// defaultMemory, and the shares of it above which Envoy releases memory and refuses requests, are those of Envoy's best
	// practices for an edge proxy.
	defaultMemory  = 2 << 30
	shrinkAbove    = 0.95
	refuseAbove    = 0.98
	overloadPeriod = 250 * time.Millisecond
)

// Options are the differences between the bootstraps of two Envoys.
type Options struct {
	// NodeID names this Envoy to the xDS server; unique among its clients.
	NodeID string
	// Zone is its locality; it may be empty.
	Zone string
	// XDS is the address of the xDS server: host:port, or unix: and the path of a socket. A relative path is from Envoy's working
	// directory, here as in Admin.
	XDS string
	// TLS secures the connection to the xDS server; nil means plain text.
	TLS *TLS
	// Admin is the address of Envoy's admin interface: unix: and the path of a socket, or an IP address and a port. Anybody who
	// reaches it can stop Envoy, so an IP address must be on loopback, and only the owner can use the socket.
	Admin string
	// Connections is how many connections of clients Envoy has at most, without those of the admin interface; 0 means 100,000.
	Connections int64
	// Memory is how many bytes Envoy may allocate: near that it releases memory, and then answers requests with 503. 0 means 2 GiB.
	Memory uint64
}

// TLS names the files that secure the connection to the xDS server, all PEM.
type TLS struct {
	// CA has the authorities that may have signed the server's certificate. ServerName is the name in that certificate; empty means
	// the host of XDS.
	CA, ServerName string
	// Certificate and Key identify Envoy to the server; both may be empty.
	Certificate, Key string
	// Dir is the folder with the files of WriteSecrets. Empty means none: Envoy reads the certificates only when it starts.
	Dir string
}

// Bootstrap returns the configuration that Envoy starts with, as YAML. Everything else comes over one delta ADS stream.
func Bootstrap(o Options) ([]byte, error) {
	if o.NodeID == "" {
		return nil, errors.New("making a bootstrap for Envoy: the node id is empty; the xDS server distinguishes its clients by it")
	}
	admin, err := adminAddress(o.Admin)
	if err != nil {
		return nil, err
	}
	server, err := serverCluster(o)
	if err != nil {
		return nil, err
	}
	limits, err := overload(cmp.Or(o.Connections, defaultConnections), cmp.Or(o.Memory, defaultMemory))
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: o.NodeID, Cluster: contract.Gateway, Locality: &corev3.Locality{Zone: o.Zone}},
		Admin: &bootstrapv3.Admin{Address: admin, IgnoreGlobalConnLimit: true},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: adsStream(), CdsConfig: ads(), LdsConfig: ads(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{server}},
		// Most clusters of a serverless installation have no requests: Envoy creates one when a request needs it.
		ClusterManager: &bootstrapv3.ClusterManager{
			LoadStatsConfig:               apiConfig(corev3.ApiConfigSource_GRPC),
			EnableDeferredClusterCreation: true,
		},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		// Nothing takes statistics from Envoy by itself. A flush every 5 s, the default, visits each counter of each cluster and scope.
		StatsFlush:      &bootstrapv3.Bootstrap_StatsFlushOnAdmin{StatsFlushOnAdmin: true},
		OverloadManager: limits,
		LayeredRuntime:  &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{tracing()}},
	}
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("making a bootstrap for Envoy: %w", err)
	}
	// Envoy's documentation writes field names as the protos do.
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("writing the bootstrap of Envoy: %w", err)
	}
	return yaml.JSONToYAML(text)
}

// tracing has Envoy send spans in batches, as OpenTelemetry's SDKs do. By default each worker sends them by fives, which costs a request
// of its own, and a line in its log while the collector is away.
func tracing() *bootstrapv3.RuntimeLayer {
	return &bootstrapv3.RuntimeLayer{Name: "sluice", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{
		StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
			"tracing.opentelemetry.min_flush_spans":   structpb.NewNumberValue(512),
			"tracing.opentelemetry.flush_interval_ms": structpb.NewNumberValue(1000),
		}},
	}}
}

// overload makes Envoy refuse connections above a number, and requests when it is almost out of memory: a process that is killed for its
// memory loses all requests.
func overload(connections int64, memory uint64) (*overloadv3.OverloadManager, error) {
	count, err := pack(&downstreamv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: connections})
	if err != nil {
		return nil, err
	}
	heap, err := pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: memory})
	if err != nil {
		return nil, err
	}
	const heapMonitor = "envoy.resource_monitors.fixed_heap"
	above := func(action string, share float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{Name: "envoy.overload_actions." + action, Triggers: []*overloadv3.Trigger{{
			Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: share}},
		}}}
	}
	monitor := func(name string, config *anypb.Any) *overloadv3.ResourceMonitor {
		return &overloadv3.ResourceMonitor{Name: name, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: config}}
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(overloadPeriod),
		ResourceMonitors: []*overloadv3.ResourceMonitor{monitor("envoy.resource_monitors.global_downstream_max_connections", count),
			monitor(heapMonitor, heap)},
		Actions: []*overloadv3.OverloadAction{above("shrink_heap", shrinkAbove), above("stop_accepting_requests", refuseAbove)},
	}, nil
}

// adminAddress parses the address of the admin interface, which must be on this machine.
func adminAddress(s string) (*corev3.Address, error) {
	if path, ok := strings.CutPrefix(s, unixScheme); ok {
		if path == "" || len(path) > MaxSocketPath {
			return nil, fmt.Errorf("%q is no address for Envoy's admin interface: a path of a socket has 1 to %d bytes", s, MaxSocketPath)
		}
		return pipe(path, 0o600), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		const want = "unix: and a path, or an IP address and a port, such as 127.0.0.1:9901"
		return nil, fmt.Errorf("%q is no address for Envoy's admin interface; want "+want, s)
	}
	if !a.Addr().IsLoopback() {
		return nil, fmt.Errorf("the address %s for Envoy's admin interface is not on loopback: anybody who reaches it can stop Envoy; "+
			"want one such as 127.0.0.1:9901", s)
	}
	return socketAddress(a.Addr().String(), a.Port()), nil
}

// endpoint parses the address of the xDS server. It returns the address, how to resolve it, and the host, if any.
func endpoint(xds string) (*corev3.Address, clusterv3.Cluster_DiscoveryType, string, error) {
	if path, ok := strings.CutPrefix(xds, unixScheme); ok {
		if path == "" || len(path) > MaxSocketPath {
			return nil, 0, "", fmt.Errorf("the address of the xDS server, %q, is no path of a socket: it has 1 to %d bytes",
				xds, MaxSocketPath)
		}
		return pipe(path, 0), clusterv3.Cluster_STATIC, "", nil
	}
	host, portText, err := net.SplitHostPort(xds)
	if err != nil {
		return nil, 0, "", fmt.Errorf("reading the address of the xDS server, %q: %w; want host:port", xds, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 || host == "" {
		return nil, 0, "", fmt.Errorf("the address of the xDS server, %q, is no host and port", xds)
	}
	discovery := clusterv3.Cluster_STRICT_DNS
	if _, err := netip.ParseAddr(host); err == nil {
		discovery = clusterv3.Cluster_STATIC
	}
	return socketAddress(host, uint16(port)), discovery, host, nil
}

// serverCluster is the cluster of the xDS server.
func serverCluster(o Options) (*clusterv3.Cluster, error) {
	address, discovery, host, err := endpoint(o.XDS)
	if err != nil {
		return nil, err
	}
	protocol, err := pack(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
						Interval: durationpb.New(keepaliveInterval), Timeout: durationpb.New(keepaliveTimeout),
					}},
				},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	c := &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: discovery},
		ConnectTimeout:       durationpb.New(connectTimeout),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: xdsCluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
			}},
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
	}
	if o.TLS != nil {
		secure := *o.TLS
		secure.ServerName = cmp.Or(secure.ServerName, host)
		c.TransportSocket, err = transportSocket(secure)
	}
	return c, err
}

// transportSocket refers to files and does not contain them, so that no key is in the bootstrap.
func transportSocket(t TLS) (*corev3.TransportSocket, error) {
	if t.CA == "" || t.ServerName == "" || (t.Certificate == "") != (t.Key == "") {
		return nil, errors.New("TLS to the xDS server wants a CA, a server name, and either both a certificate and its key or neither")
	}
	checks := &tlsv3.CertificateValidationContext{TrustedCa: fileSource(t.CA), MatchTypedSubjectAltNames: sanMatchers(t.ServerName)}
	common := &tlsv3.CommonTlsContext{
		// As a client Envoy speaks at most TLS 1.2 by default, which the server does not accept.
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: checks},
		AlpnProtocols:         []string{"h2"},
	}
	if t.Certificate != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: fileSource(t.Certificate), PrivateKey: fileSource(t.Key)}}
	}
	if t.Dir != "" {
		t.useSecrets(common, checks)
	}
	config, err := pack(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni(t.ServerName)})
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config},
	}, nil
}

// sni is the server name to send; an IP address must not be one (RFC 6066).
func sni(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}

// sanMatchers require the server's name in its certificate. Without them Envoy accepts any certificate that the CA has signed.
func sanMatchers(name string) []*tlsv3.SubjectAltNameMatcher {
	kind := tlsv3.SubjectAltNameMatcher_DNS
	if sni(name) == "" {
		kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	return []*tlsv3.SubjectAltNameMatcher{{
		SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
	}}
}

// ads says that a kind of resource comes over the ADS stream. Envoy waits for it without a bound: after its default of 15 seconds it would
// be ready with nothing to serve.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// adsStream is the stream of all resources. The stream of load reports has no such back-off: Envoy always reopens it after 5 s.
func adsStream() *corev3.ApiConfigSource {
	config := apiConfig(corev3.ApiConfigSource_DELTA_GRPC)
	config.GrpcServices[0].GetEnvoyGrpc().RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
		BaseInterval: durationpb.New(firstRetry), MaxInterval: durationpb.New(lastRetry),
	}}
	return config
}

func apiConfig(t corev3.ApiConfigSource_ApiType) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType:             t,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: xdsCluster},
		}}},
	}
}

// pipe is the address of a socket with a path; mode 0 leaves the mode to the system.
func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// pack validates a message and packs it: ValidateAll of the whole does not look inside an Any.
func pack(m interface {
	proto.Message
	ValidateAll() error
}) (*anypb.Any, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, fmt.Errorf("making a bootstrap for Envoy: %w", err)
	}
	return anypb.New(m)
}
