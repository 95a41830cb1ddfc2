package translator

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/model"
)

// Limits of the gateway on what comes from outside. The stream and window sizes are those of Envoy's best practices for
// an edge proxy (docs/configuration/best_practices/edge), but for the number of streams: gRPC clients put all their
// calls on one connection.
const (
	maxRequestHeadersKB     = 64
	maxRequestHeaders       = 100
	requestHeadersTimeout   = 10 * time.Second
	connectionIdleTimeout   = time.Hour
	maxConcurrentStreams    = 1000
	initialStreamWindow     = 64 << 10
	initialConnectionWindow = 1 << 20
)

// newListener is a listener of the gateway without TLS. Requests may take and pause as long as their route allows:
// a stream that lives for hours is what WebSocket and gRPC are for, so no stream is ended for being idle.
func newListener(name string, address netip.AddrPort, accessLog bool) *listenerv3.Listener {
	routes := name
	if name == listenerHTTPS {
		routes = listenerHTTP
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: rds(routes),
		HttpFilters:    []*hcmv3.HttpFilter{router()},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:     durationpb.New(connectionIdleTimeout),
			MaxHeadersCount: wrapperspb.UInt32(maxRequestHeaders),
		},
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
		UpgradeConfigs:        []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if accessLog {
		manager.AccessLog = []*accesslogv3.AccessLog{stdoutLog()}
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

// stdoutLog writes one JSON object per request.
func stdoutLog() *accesslogv3.AccessLog {
	fields := map[string]*structpb.Value{}
	for name, operator := range map[string]string{
		"time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "host": "%REQ(:AUTHORITY)%", "protocol": "%PROTOCOL%",
		"status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%",
		"duration_ms": "%DURATION%", "client": "%DOWNSTREAM_REMOTE_ADDRESS%", "user_agent": "%REQ(USER-AGENT)%",
		"request_id": "%REQ(X-REQUEST-ID)%", "revision": "%UPSTREAM_CLUSTER%", "upstream": "%UPSTREAM_HOST%",
	} {
		fields[name] = structpb.NewStringValue(operator)
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: anyOf(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
			}},
		})},
	}
}

// addTLS gives a listener one filter chain per certificate, chosen by server name, and the first one for any other name.
func addTLS(l *listenerv3.Listener, certificates []model.Certificate) {
	filters := l.FilterChains[0].Filters
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: anyOf(&tlsinspectorv3.TlsInspector{})},
	}}
	l.FilterChains = nil
	for i, c := range certificates {
		chain := &listenerv3.FilterChain{Name: c.Name, Filters: filters, TransportSocket: transportSocket(c)}
		if i == 0 {
			l.DefaultFilterChain = &listenerv3.FilterChain{Name: "default", Filters: filters, TransportSocket: transportSocket(c)}
		}
		if len(c.Hosts) > 0 {
			chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: c.Hosts}
			l.FilterChains = append(l.FilterChains, chain)
		}
	}
}

func transportSocket(c model.Certificate) *corev3.TransportSocket {
	pem := func(text string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: anyOf(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams:       &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
				TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: pem(c.Chain), PrivateKey: pem(c.Key)}},
				AlpnProtocols:   []string{"h2", "http/1.1"},
			},
		})},
	}
}

// usable returns the certificates that are key pairs, with lower-case hosts that no certificate before them has.
func (p *gatewayPart) usable(certificates []model.Certificate) []model.Certificate {
	var usable []model.Certificate
	taken := map[string]string{}
	names := map[string]bool{"default": true}
	for _, c := range certificates {
		if _, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key)); err != nil {
			p.report(listenerHTTPS, "InvalidCertificate", fmt.Sprintf("certificate %q is left out: want a chain and its key as PEM: %s", c.Name, err))
			continue
		}
		if names[c.Name] || !validName(strings.NewReplacer("/", "-", "_", "-").Replace(c.Name)) {
			p.report(listenerHTTPS, "InvalidCertificate", fmt.Sprintf("certificate %q is left out: want a name of its own, in lower case", c.Name))
			continue
		}
		names[c.Name] = true
		var hosts []string
		for _, h := range c.Hosts {
			h = strings.ToLower(h)
			if other, ok := taken[h]; ok {
				p.report(listenerHTTPS, "DuplicateHost", fmt.Sprintf("certificates %q and %q are both for %q; the former is served", other, c.Name, h))
				continue
			}
			if !validHost(strings.TrimPrefix(h, "*.")) {
				p.report(listenerHTTPS, "InvalidHost", fmt.Sprintf("host %q of certificate %q is left out: want a DNS name, or one after \"*.\"", h, c.Name))
				continue
			}
			taken[h] = c.Name
			hosts = append(hosts, h)
		}
		c.Hosts = hosts
		usable = append(usable, c)
	}
	return usable
}
