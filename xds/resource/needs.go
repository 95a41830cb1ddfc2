package resource

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Need is a resource that a client will subscribe to by name because of another resource.
type Need struct{ URL, Name string }

// NeedsOf is what a client will subscribe to once it has the resource. A body that cannot be parsed needs nothing: the translator
// validates resources, not the server.
func NeedsOf(r *Resource) []Need {
	switch r.Type {
	case ClusterType:
		return inType(EndpointType, clusterNeeds(r))
	case ListenerType:
		return listenerNeeds(r)
	case ScopedRouteType:
		return inType(RouteType, scopeNeeds(r))
	default:
		return nil
	}
}

func inType(url string, names []string) []Need {
	needs := make([]Need, len(names))
	for i, name := range names {
		needs[i] = Need{url, name}
	}
	return needs
}

// clusterNeeds is the cluster's assignment. It has the name of the cluster unless the cluster gives another.
func clusterNeeds(r *Resource) []string {
	var cluster clusterv3.Cluster
	if proto.Unmarshal(r.Body, &cluster) != nil || cluster.GetType() != clusterv3.Cluster_EDS {
		return nil
	}
	if name := cluster.GetEdsClusterConfig().GetServiceName(); name != "" {
		return []string{name}
	}
	return []string{r.Name}
}

// listenerNeeds is the certificates of the listener's filter chains, and the routes of its HTTP connection managers: route
// configurations by name, or all scopes.
func listenerNeeds(r *Resource) []Need {
	var listener listenerv3.Listener
	if proto.Unmarshal(r.Body, &listener) != nil {
		return nil
	}
	configs := []*anypb.Any{listener.GetApiListener().GetApiListener()}
	var secrets []string
	for _, chain := range append(listener.GetFilterChains(), listener.GetDefaultFilterChain()) {
		secrets = append(secrets, secretsOf(chain)...)
		for _, filter := range chain.GetFilters() {
			configs = append(configs, filter.GetTypedConfig())
		}
	}
	var routes, scopes []string
	for _, config := range configs {
		var manager hcmv3.HttpConnectionManager
		if !config.MessageIs(&manager) || config.UnmarshalTo(&manager) != nil {
			continue
		}
		if name := manager.GetRds().GetRouteConfigName(); name != "" {
			routes = append(routes, name)
		}
		if manager.GetScopedRoutes().GetScopedRds() != nil {
			scopes = []string{Everything}
		}
	}
	return slices.Concat(inType(SecretType, secrets), inType(ScopedRouteType, scopes), inType(RouteType, routes))
}

// scopeNeeds is the route configuration that a scope names. A scope that holds its routes inline needs none.
func scopeNeeds(r *Resource) []string {
	var scope routev3.ScopedRouteConfiguration
	if proto.Unmarshal(r.Body, &scope) != nil || scope.GetRouteConfigurationName() == "" {
		return nil
	}
	return []string{scope.GetRouteConfigurationName()}
}

// secretsOf is the certificates of a filter chain that the client gets over this stream. It may get others from elsewhere.
func secretsOf(chain *listenerv3.FilterChain) []string {
	var context tlsv3.DownstreamTlsContext
	config := chain.GetTransportSocket().GetTypedConfig()
	if !config.MessageIs(&context) || config.UnmarshalTo(&context) != nil {
		return nil
	}
	var names []string
	for _, secret := range context.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
		if source := secret.GetSdsConfig(); source.GetAds() != nil || source.GetSelf() != nil {
			names = append(names, secret.GetName())
		}
	}
	return names
}
