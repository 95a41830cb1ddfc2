package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// needsOf is the names that a client will ask for, in the type that the kind needs, once it has the resource. A body that
// cannot be read needs nothing: whether it is valid is not decided here.
func needsOf(r *Resource) []string {
	switch r.Type {
	case ClusterType:
		return clusterNeeds(r)
	case ListenerType:
		return listenerNeeds(r)
	case RouteType:
		return routeNeeds(r)
	default:
		return nil
	}
}

// clusterNeeds is the cluster's assignment, which is named like the cluster unless it says otherwise.
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

// listenerNeeds is the route configurations of the listener's HTTP connection managers.
func listenerNeeds(r *Resource) []string {
	var listener listenerv3.Listener
	if proto.Unmarshal(r.Body, &listener) != nil {
		return nil
	}
	configs := []*anypb.Any{listener.GetApiListener().GetApiListener()}
	for _, chain := range append(listener.GetFilterChains(), listener.GetDefaultFilterChain()) {
		for _, filter := range chain.GetFilters() {
			configs = append(configs, filter.GetTypedConfig())
		}
	}
	var names []string
	for _, config := range configs {
		var manager hcmv3.HttpConnectionManager
		if !config.MessageIs(&manager) || config.UnmarshalTo(&manager) != nil {
			continue
		}
		if name := manager.GetRds().GetRouteConfigName(); name != "" {
			names = append(names, name)
		}
	}
	return names
}
