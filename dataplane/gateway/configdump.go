package gateway

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"     // to dump listeners with an access log
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3" // to dump routes that retry
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/dataplane/gateway/config"
)

// serveConfigDump shows the resources in force, in Envoy's format. It adds endpoints with ?include_eds, and never shows private keys.
func (g *Gateway) serveConfigDump(w http.ResponseWriter, r *http.Request) {
	clusters := &adminv3.ClustersConfigDump{}
	endpoints := &adminv3.EndpointsConfigDump{}
	for _, c := range g.clusters() {
		config := c.Config.Load()
		clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{
			VersionInfo: config.Version, Cluster: dumped(resource.ClusterType, config.Body),
		})
		if a := c.Endpoints.Load(); a != nil && a.Body != nil {
			endpoints.DynamicEndpointConfigs = append(endpoints.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{
				VersionInfo: a.Version, EndpointConfig: dumped(resource.EndpointType, a.Body),
			})
		}
	}
	sections := []proto.Message{clusters, g.dumpListeners(), g.dumpSecrets(), g.dumpRoutes(), g.dumpScopes()}
	if r.URL.Query().Has("include_eds") {
		sections = append(sections, endpoints)
	}
	dump := &adminv3.ConfigDump{}
	for _, s := range sections {
		if packed, err := anypb.New(s); err == nil {
			dump.Configs = append(dump.Configs, packed)
		}
	}
	writeJSON(w, dump)
}

func (g *Gateway) dumpListeners() *adminv3.ListenersConfigDump {
	g.mu.Lock()
	defer g.mu.Unlock()
	dump := &adminv3.ListenersConfigDump{}
	for _, name := range slices.Sorted(maps.Keys(g.listeners)) {
		d := &adminv3.ListenersConfigDump_DynamicListener{Name: name}
		if l := g.listeners[name].serving; l != nil {
			d.ActiveState = listenerState(l)
		}
		if l := g.listeners[name].warming; l != nil {
			d.WarmingState = listenerState(l)
		}
		dump.DynamicListeners = append(dump.DynamicListeners, d)
	}
	return dump
}

func listenerState(v *version) *adminv3.ListenersConfigDump_DynamicListenerState {
	state := &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: v.config().Version}
	if body := withoutKeys(v.config().Body); body != nil {
		state.Listener = dumped(resource.ListenerType, body)
	}
	return state
}

// withoutKeys is the message of a listener without its private keys; nil when they cannot be taken out.
func withoutKeys(listener []byte) []byte {
	m := &listenerv3.Listener{}
	if proto.Unmarshal(listener, m) != nil {
		return nil
	}
	for _, c := range append(m.GetFilterChains(), m.GetDefaultFilterChain()) {
		if !redact(c.GetTransportSocket()) {
			return nil
		}
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return nil
	}
	return body
}

// redact takes the private keys out of a transport socket, as Envoy does. It reports false when it could not decode the socket.
func redact(s *corev3.TransportSocket) bool {
	if s == nil {
		return true
	}
	m := &tlsv3.DownstreamTlsContext{}
	if err := s.GetTypedConfig().UnmarshalTo(m); err != nil {
		return false
	}
	for _, c := range m.GetCommonTlsContext().GetTlsCertificates() {
		config.RedactCertificate(c)
	}
	packed, err := anypb.New(m)
	s.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: packed}
	return err == nil
}

func (g *Gateway) dumpSecrets() *adminv3.SecretsConfigDump {
	g.mu.Lock()
	defer g.mu.Unlock()
	dump := &adminv3.SecretsConfigDump{}
	for _, name := range slices.Sorted(maps.Keys(g.secrets)) {
		d := &adminv3.SecretsConfigDump_DynamicSecret{Name: name}
		secret := g.secrets[name].secret
		if secret == nil {
			dump.DynamicWarmingSecrets = append(dump.DynamicWarmingSecrets, d)
			continue
		}
		d.VersionInfo, d.Secret = secret.Version, dumped(resource.SecretType, secret.Body)
		dump.DynamicActiveSecrets = append(dump.DynamicActiveSecrets, d)
	}
	return dump
}

func (g *Gateway) dumpRoutes() *adminv3.RoutesConfigDump {
	g.mu.Lock()
	defer g.mu.Unlock()
	dump := &adminv3.RoutesConfigDump{}
	for _, name := range slices.Sorted(maps.Keys(g.routes)) {
		if t := g.routes[name].current.Load(); t != nil {
			dump.DynamicRouteConfigs = append(dump.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
				VersionInfo: t.Version, RouteConfig: dumped(resource.RouteType, t.Body),
			})
		}
	}
	return dump
}

func (g *Gateway) dumpScopes() *adminv3.ScopedRoutesConfigDump {
	g.mu.Lock()
	defer g.mu.Unlock()
	dump := &adminv3.ScopedRoutesConfigDump{}
	for _, s := range g.scopes.sorted() {
		dump.DynamicScopedRouteConfigs = append(dump.DynamicScopedRouteConfigs, &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{
			Name: s.Name, VersionInfo: s.Version, ScopedRouteConfigs: []*anypb.Any{dumped(resource.ScopedRouteType, s.Body)},
		})
	}
	return dump
}

// dumped packs a resource. It is nil for one with a message that this program cannot write as JSON, because it does not know its type.
func dumped(typeURL string, body []byte) *anypb.Any {
	packed := &anypb.Any{TypeUrl: typeURL, Value: body}
	if _, err := protojson.Marshal(packed); err != nil {
		return nil
	}
	return packed
}

func socketAddress(address string) *corev3.Address {
	host, port, _ := net.SplitHostPort(address) // made by JoinHostPort
	number, _ := strconv.ParseUint(port, 10, 16)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
	}}}
}
