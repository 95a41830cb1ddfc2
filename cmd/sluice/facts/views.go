// Package facts gathers what package explain needs to know: the objects of a Kubernetes API, and what an xDS server offers to gateways
// and knows of its clients. It must not know what the facts mean.
package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// Views asks an xDS server what it offers to gateways, and what each client has of it.
func Views(ctx context.Context, server grpc.ClientConnInterface) (explain.Views, error) {
	// Two queries: only what is offered is needed with contents.
	desired, err := status.Ask(ctx, server, status.Query{Desired: []string{contract.RoleName(contract.RoleGateway)}, Contents: true})
	if err != nil {
		return explain.Views{}, err
	}
	clients, err := status.Ask(ctx, server, status.Query{})
	if err != nil {
		return explain.Views{}, err
	}
	offered, err := readOffer(desired)
	if err != nil {
		return explain.Views{}, err
	}
	return explain.Views{Offered: offered, Clients: readClients(clients)}, nil
}

// kinds are the names that explain has for resources, by type URL.
var kinds = map[string]string{
	resource.ListenerType: explain.KindListener, resource.RouteType: explain.KindRoutes, resource.ScopedRouteType: explain.KindScope,
	resource.ClusterType: explain.KindCluster, resource.EndpointType: explain.KindAssignment,
}

// readClients makes one view of all streams of a client.
func readClients(streams []status.Client) []explain.View {
	var out []explain.View
	for _, s := range streams {
		v := explain.View{ID: s.ID, Role: s.Role, Lag: time.Duration(s.LagMillis) * time.Millisecond, Unknown: s.Unknown}
		for _, r := range s.Resources {
			if kind := kinds[r.TypeURL]; kind != "" {
				v.Resources = append(v.Resources, readResource(kind, r))
			}
		}
		i := slices.IndexFunc(out, func(o explain.View) bool { return o.ID == v.ID && o.Role == v.Role })
		if i < 0 {
			out = append(out, v)
			continue
		}
		out[i].Lag, out[i].Unknown = max(out[i].Lag, v.Lag), out[i].Unknown || v.Unknown
		out[i].Resources = append(out[i].Resources, v.Resources...)
	}
	return out
}

func readResource(kind string, r status.Resource) explain.ResourceView {
	out := explain.ResourceView{
		Kind: kind, Name: r.Name, Acknowledged: r.State == status.Synced || r.State == status.Absent, Absent: r.State == status.Absent,
	}
	if r.State == status.Rejected {
		out.Rejected, out.Without = "it does not say why", r.Version == ""
		if r.Rejection != nil {
			out.Rejected = cmp.Or(r.Rejection.Text, out.Rejected)
		}
	}
	return out
}

// readOffer reads the contents of what gateways are offered.
func readOffer(desired []status.Client) (explain.Offer, error) {
	o := explain.Offer{
		Listeners: map[string]explain.Listener{}, VirtualHosts: map[string][]explain.VirtualHost{},
		Clusters: map[string]bool{}, Assignments: map[string][]explain.Zone{},
	}
	found, scopes := false, map[string]string{}
	for _, c := range desired {
		found = found || c.IsDesired()
		for _, r := range c.Resources {
			if err := readOffered(&o, scopes, r); err != nil {
				return o, fmt.Errorf("reading %s %q: %w", kinds[r.TypeURL], r.Name, err)
			}
		}
	}
	if !found {
		return o, errors.New("it does not say what it offers to gateways: it is no xDS server of Sluice, or an older one")
	}
	for _, name := range slices.Sorted(maps.Keys(scopes)) {
		listener, host, _ := strings.Cut(name, "/")
		for _, vh := range o.VirtualHosts[scopes[name]] {
			vh.Domains, vh.Routes = []string{host}, scopes[name]
			o.VirtualHosts[listener] = append(o.VirtualHosts[listener], vh)
		}
	}
	return o, nil
}

// readOffered reads one resource. A scope goes into scopes, which maps its name to that of its route configuration.
func readOffered(o *explain.Offer, scopes map[string]string, r status.Resource) error {
	config := r.Content
	switch r.TypeURL {
	case resource.ListenerType:
		l := &listenerv3.Listener{}
		if err := config.UnmarshalTo(l); err != nil {
			return err
		}
		listener := routesOf(l)
		listener.Address = addressOf(l.GetAddress())
		o.Listeners[l.GetName()] = listener
	case resource.RouteType:
		rc := &routev3.RouteConfiguration{}
		if err := config.UnmarshalTo(rc); err != nil {
			return err
		}
		for _, vh := range rc.GetVirtualHosts() {
			o.VirtualHosts[rc.GetName()] = append(o.VirtualHosts[rc.GetName()], virtualHost(vh))
		}
	case resource.ScopedRouteType:
		scope := &routev3.ScopedRouteConfiguration{}
		if err := config.UnmarshalTo(scope); err != nil {
			return err
		}
		scopes[r.Name] = scope.GetRouteConfigurationName()
	case resource.ClusterType:
		c := &clusterv3.Cluster{}
		if err := config.UnmarshalTo(c); err != nil {
			return err
		}
		o.Clusters[c.GetName()] = true
	case resource.EndpointType:
		a := &endpointv3.ClusterLoadAssignment{}
		if err := config.UnmarshalTo(a); err != nil {
			return err
		}
		o.Assignments[a.GetClusterName()] = zones(a)
	}
	return nil
}

// routesOf is the route configuration or the scopes that a listener uses.
func routesOf(l *listenerv3.Listener) explain.Listener {
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, filter := range chain.GetFilters() {
			manager := &hcmv3.HttpConnectionManager{}
			if filter.GetTypedConfig().MessageIs(manager) && filter.GetTypedConfig().UnmarshalTo(manager) == nil {
				if scoped := manager.GetScopedRoutes(); scoped != nil {
					return explain.Listener{Routes: scoped.GetName(), Scoped: true}
				}
				return explain.Listener{Routes: manager.GetRds().GetRouteConfigName()}
			}
		}
	}
	return explain.Listener{}
}

// virtualHost reads the last route, which is for requests without the header of a tag.
func virtualHost(vh *routev3.VirtualHost) explain.VirtualHost {
	out := explain.VirtualHost{Name: vh.GetName(), Domains: vh.GetDomains()}
	routes := vh.GetRoutes()
	if len(routes) == 0 {
		return out
	}
	last := routes[len(routes)-1]
	out.Answers = int(last.GetDirectResponse().GetStatus())
	for _, c := range last.GetRoute().GetWeightedClusters().GetClusters() {
		out.Clusters = append(out.Clusters, explain.Weight{Cluster: c.GetName(), Weight: int(c.GetWeight().GetValue())})
	}
	return out
}

func zones(a *endpointv3.ClusterLoadAssignment) []explain.Zone {
	var out []explain.Zone
	for _, locality := range a.GetEndpoints() {
		z := explain.Zone{Name: locality.GetLocality().GetZone(), Priority: int(locality.GetPriority()), Endpoints: []string{}}
		for _, e := range locality.GetLbEndpoints() {
			z.Endpoints = append(z.Endpoints, addressOf(e.GetEndpoint().GetAddress()))
		}
		out = append(out, z)
	}
	return out
}

func addressOf(a *corev3.Address) string {
	s := a.GetSocketAddress()
	return net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue())))
}
