package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/xds"
)

const (
	// statusKey is where the figures of a client are in its node's metadata.
	statusKey = "sluice.dev/status"
	// desiredGateway is the client that stands for what gateways are offered.
	desiredGateway = "sluice.dev/desired/gateway"
	// maxStatus bounds one message of an answer: a route configuration holds the virtual hosts of all Routes.
	maxStatus = 256 << 20
)

// views asks the xDS server what gateways are offered, and what each client has of it.
func (f *explainFlags) views(ctx context.Context) (explain.Views, *explain.Failure) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	views, err := askViews(ctx, f.xds)
	if err == nil {
		return views, nil
	}
	return explain.Views{}, &explain.Failure{
		Who: "xDS server " + f.xds, Message: fmt.Sprintf("The xDS server %s cannot be asked: %s", f.xds, status.Convert(err).Message()),
		Remedy: "Start sluice up, or name the address of its xDS server with --xds",
	}
}

func askViews(ctx context.Context, address string) (explain.Views, error) {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxStatus)))
	if err != nil {
		return explain.Views{}, err
	}
	defer conn.Close()
	desired, err := askStatus(ctx, conn, &statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{{
		NodeId: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: desiredGateway}},
	}}})
	if err != nil {
		return explain.Views{}, err
	}
	clients, err := askStatus(ctx, conn, &statusv3.ClientStatusRequest{ExcludeResourceContents: true})
	if err != nil {
		return explain.Views{}, err
	}
	offered, err := readOffer(desired)
	if err != nil {
		return explain.Views{}, err
	}
	return explain.Views{Offered: offered, Clients: readClients(clients)}, nil
}

// askStatus sends one request and takes the answer, which may come in several messages.
func askStatus(ctx context.Context, conn *grpc.ClientConn, r *statusv3.ClientStatusRequest) ([]*statusv3.ClientConfig, error) {
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(conn).StreamClientStatus(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stream.Send(r), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all []*statusv3.ClientConfig
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, response.GetConfig()...)
	}
}

// kinds are how resources are called, by type URL.
var kinds = map[string]string{
	xds.ListenerType: explain.KindListener, xds.RouteType: explain.KindRoutes, xds.VirtualHostType: explain.KindVirtualHost,
	xds.ClusterType: explain.KindCluster, xds.EndpointType: explain.KindAssignment,
}

// readClients makes one view of all streams of a client.
func readClients(configs []*statusv3.ClientConfig) []explain.View {
	var out []explain.View
	for _, config := range configs {
		figures := config.GetNode().GetMetadata().GetFields()[statusKey].GetStructValue().GetFields()
		v := explain.View{
			ID: config.GetNode().GetId(), Role: cmp.Or(figures["role"].GetStringValue(), config.GetNode().GetCluster()),
			Lag: time.Duration(figures["lag_ms"].GetNumberValue()) * time.Millisecond,
		}
		for _, r := range config.GetGenericXdsConfigs() {
			if kind := kinds[r.GetTypeUrl()]; kind != "" {
				v.Resources = append(v.Resources, readResource(kind, r))
			}
		}
		i := slices.IndexFunc(out, func(o explain.View) bool { return o.ID == v.ID && o.Role == v.Role })
		if i < 0 {
			out = append(out, v)
			continue
		}
		out[i].Lag = max(out[i].Lag, v.Lag)
		out[i].Resources = append(out[i].Resources, v.Resources...)
	}
	return out
}

func readResource(kind string, r *statusv3.ClientConfig_GenericXdsConfig) explain.ResourceView {
	out := explain.ResourceView{
		Kind: kind, Name: r.GetName(),
		Acknowledged: r.GetConfigStatus() == statusv3.ConfigStatus_SYNCED,
		Absent:       r.GetClientStatus() == adminv3.ClientResourceStatus_DOES_NOT_EXIST && r.GetConfigStatus() == statusv3.ConfigStatus_SYNCED,
	}
	if r.GetClientStatus() == adminv3.ClientResourceStatus_NACKED || r.GetConfigStatus() == statusv3.ConfigStatus_ERROR {
		out.Refused = cmp.Or(r.GetErrorState().GetDetails(), "it does not say why")
	}
	return out
}

// readOffer reads the contents of what gateways are offered.
func readOffer(configs []*statusv3.ClientConfig) (explain.Offer, error) {
	o := explain.Offer{
		Listeners: map[string]explain.Listener{}, VirtualHosts: map[string][]explain.VirtualHost{},
		Clusters: map[string]bool{}, Assignments: map[string][]explain.Zone{},
	}
	found := false
	for _, config := range configs {
		found = found || config.GetNode().GetId() == desiredGateway
		for _, r := range config.GetGenericXdsConfigs() {
			if err := readOffered(&o, r); err != nil {
				return o, fmt.Errorf("reading %s %q: %w", kinds[r.GetTypeUrl()], r.GetName(), err)
			}
		}
	}
	if !found {
		return o, errors.New("it does not say what it offers to gateways: it is no xDS server of Sluice, or an older one")
	}
	return o, nil
}

func readOffered(o *explain.Offer, r *statusv3.ClientConfig_GenericXdsConfig) error {
	config := r.GetXdsConfig()
	switch r.GetTypeUrl() {
	case xds.ListenerType:
		l := &listenerv3.Listener{}
		if err := config.UnmarshalTo(l); err != nil {
			return err
		}
		o.Listeners[l.GetName()] = explain.Listener{Address: addressOf(l.GetAddress()), Routes: routesOf(l)}
	case xds.RouteType:
		rc := &routev3.RouteConfiguration{}
		if err := config.UnmarshalTo(rc); err != nil {
			return err
		}
		for _, vh := range rc.GetVirtualHosts() {
			o.VirtualHosts[rc.GetName()] = append(o.VirtualHosts[rc.GetName()], virtualHost(vh))
		}
	case xds.VirtualHostType:
		vh := &routev3.VirtualHost{}
		if err := config.UnmarshalTo(vh); err != nil {
			return err
		}
		routes, _, _ := strings.Cut(r.GetName(), "/")
		o.VirtualHosts[routes] = append(o.VirtualHosts[routes], virtualHost(vh))
	case xds.ClusterType:
		c := &clusterv3.Cluster{}
		if err := config.UnmarshalTo(c); err != nil {
			return err
		}
		o.Clusters[c.GetName()] = true
	case xds.EndpointType:
		a := &endpointv3.ClusterLoadAssignment{}
		if err := config.UnmarshalTo(a); err != nil {
			return err
		}
		o.Assignments[a.GetClusterName()] = zones(a)
	}
	return nil
}

// routesOf is the route configuration that a listener uses.
func routesOf(l *listenerv3.Listener) string {
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, filter := range chain.GetFilters() {
			manager := &hcmv3.HttpConnectionManager{}
			if filter.GetTypedConfig().MessageIs(manager) && filter.GetTypedConfig().UnmarshalTo(manager) == nil {
				return manager.GetRds().GetRouteConfigName()
			}
		}
	}
	return ""
}

// virtualHost reads the last route, which is the one for requests without the header of a tag.
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
