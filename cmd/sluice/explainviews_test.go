package main

import (
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
)

func config(t *testing.T, id, cluster string, figures map[string]any, resources ...*statusv3.ClientConfig_GenericXdsConfig) *statusv3.ClientConfig {
	t.Helper()
	metadata, err := structpb.NewStruct(map[string]any{statusKey: figures})
	if err != nil {
		t.Fatal(err)
	}
	return &statusv3.ClientConfig{Node: &corev3.Node{Id: id, Cluster: cluster, Metadata: metadata}, GenericXdsConfigs: resources}
}

func TestViewsOfTheStreamsOfOneClientAreOne(t *testing.T) {
	got := readClients([]*statusv3.ClientConfig{
		config(t, "edge", "gateway", map[string]any{"role": "gateway", "lag_ms": 10.0},
			&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: xds.ClusterType, Name: "a", ConfigStatus: statusv3.ConfigStatus_SYNCED, ClientStatus: adminv3.ClientResourceStatus_ACKED},
			&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: "type.googleapis.com/unheard.of", Name: "a"}),
		config(t, "grpc", "anything", map[string]any{"role": "mesh"},
			&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: xds.ListenerType, Name: "h", ConfigStatus: statusv3.ConfigStatus_SYNCED, ClientStatus: adminv3.ClientResourceStatus_DOES_NOT_EXIST}),
		config(t, "edge", "gateway", map[string]any{"role": "gateway", "lag_ms": 2500.0},
			&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: xds.EndpointType, Name: "a", ConfigStatus: statusv3.ConfigStatus_STALE, ClientStatus: adminv3.ClientResourceStatus_ACKED},
			&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: xds.RouteType, Name: "http", ConfigStatus: statusv3.ConfigStatus_ERROR, ClientStatus: adminv3.ClientResourceStatus_NACKED, ErrorState: &adminv3.UpdateFailureState{Details: "no"}}),
	})
	want := []explain.View{
		{ID: "edge", Role: "gateway", Lag: 2500 * time.Millisecond, Resources: []explain.ResourceView{
			{Kind: explain.KindCluster, Name: "a", Acknowledged: true}, {Kind: explain.KindAssignment, Name: "a"}, {Kind: explain.KindRoutes, Name: "http", Refused: "no"},
		}},
		{ID: "grpc", Role: "mesh", Resources: []explain.ResourceView{{Kind: explain.KindListener, Name: "h", Acknowledged: true, Absent: true}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What the translator makes for gateways is read back as what it was made of.
func TestOfferIsReadFromTheResourcesOfAWorld(t *testing.T) {
	revision := model.Key{Namespace: "default", Name: "hello-1"}
	world := &model.World{
		Gateway:    model.Gateway{HTTP: "127.0.0.1:8080", Local: "127.0.0.1:8081"},
		Activators: []model.Endpoint{{Host: "127.0.0.1", Port: 8012}},
		Routes: []*model.Route{{Key: model.Key{Namespace: "default", Name: "hello"}, Rules: []model.Rule{
			{Hosts: []string{"hello.default.localhost"}, LocalHosts: []string{"hello.default"}, Shares: []model.Share{{Revision: revision, Percent: 100}}, TagHeader: []model.TagShare{{Tag: "one", Revision: revision}}},
			{Tag: "two", Hosts: []string{"two-hello.default.localhost"}},
		}}},
		Backends: []*model.Backend{{Revision: revision, Via: model.ViaActivator, Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: 9000}}}},
	}
	set, _ := translator.Diff(nil, translator.Translate(world, nil))
	var resources []*statusv3.ClientConfig_GenericXdsConfig
	for _, r := range set {
		if r.Roles&translator.RoleGateway != 0 {
			resources = append(resources, &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: r.Type, Name: r.Name, XdsConfig: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
		}
	}
	got, err := readOffer([]*statusv3.ClientConfig{config(t, desiredGateway, "gateway", nil, resources...)})
	if err != nil {
		t.Fatal(err)
	}
	all := []explain.Weight{{Cluster: "default/hello-1", Weight: 100}}
	want := explain.Offer{
		Listeners: map[string]explain.Listener{"http": {Address: "127.0.0.1:8080", Routes: "http"}, "local": {Address: "127.0.0.1:8081", Routes: "local"}},
		VirtualHosts: map[string][]explain.VirtualHost{
			"http":  {{Name: "default/hello", Domains: []string{"hello.default.localhost"}, Clusters: all}, {Name: "default/hello/two", Domains: []string{"two-hello.default.localhost"}, Answers: 503}},
			"local": {{Name: "default/hello", Domains: []string{"hello.default"}, Clusters: all}},
		},
		Clusters: map[string]bool{"activator": true, "default/hello-1": true},
		Assignments: map[string][]explain.Zone{
			"activator":       {{Name: "activator", Endpoints: []string{"127.0.0.1:8012"}}},
			"default/hello-1": {{Name: "activator", Endpoints: []string{"127.0.0.1:8012"}}, {Name: "pods", Priority: 1, Endpoints: []string{"127.0.0.1:9000"}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestVirtualHostsOfTheirOwnBelongToTheirRouteConfiguration(t *testing.T) {
	body, err := proto.Marshal(&routev3.VirtualHost{Name: "default/hello", Domains: []string{"hello.default.localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readOffer([]*statusv3.ClientConfig{config(t, desiredGateway, "gateway", nil, &statusv3.ClientConfig_GenericXdsConfig{
		TypeUrl: xds.VirtualHostType, Name: "http/default/hello", XdsConfig: &anypb.Any{TypeUrl: xds.VirtualHostType, Value: body},
	})})
	if err != nil || len(got.VirtualHosts["http"]) != 1 || got.VirtualHosts["http"][0].Name != "default/hello" {
		t.Errorf("got %+v, %v", got.VirtualHosts, err)
	}
}

func TestServerThatOffersNothingIsNamed(t *testing.T) {
	if _, err := readOffer(nil); err == nil || !strings.Contains(err.Error(), "offers to gateways") {
		t.Errorf("got %v", err)
	}
	broken := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: xds.ClusterType, Name: "a", XdsConfig: &anypb.Any{TypeUrl: xds.ClusterType, Value: []byte("x")}}
	if _, err := readOffer([]*statusv3.ClientConfig{config(t, desiredGateway, "gateway", nil, broken)}); err == nil || !strings.Contains(err.Error(), `Cluster "a"`) {
		t.Errorf("got %v", err)
	}
}
