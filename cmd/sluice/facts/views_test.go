package facts

import (
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

func desired(resources ...status.Resource) []status.Client {
	return []status.Client{{ID: csds.DesiredPrefix + "gateway", Scope: csds.DesiredScope, Role: "gateway", Resources: resources}}
}

func TestViewsOfTheStreamsOfOneClientAreOne(t *testing.T) {
	got := readClients([]status.Client{
		{ID: "edge", Role: "gateway", LagMillis: 10, Resources: []status.Resource{
			{TypeURL: resource.ClusterType, Name: "a", State: status.Synced}, {TypeURL: "type.googleapis.com/unheard.of", Name: "a"},
		}},
		{ID: "grpc", Role: "mesh", Unknown: true,
			Resources: []status.Resource{{TypeURL: resource.ListenerType, Name: "h", State: status.Absent}}},
		{ID: "edge", Role: "gateway", LagMillis: 2500, Resources: []status.Resource{
			{TypeURL: resource.EndpointType, Name: "a", State: status.Stale},
			{TypeURL: resource.RouteType, Name: "http", State: status.Rejected, Rejection: &status.Rejection{Text: "no"}},
		}},
	})
	want := []explain.View{
		{ID: "edge", Role: "gateway", Lag: 2500 * time.Millisecond, Resources: []explain.ResourceView{
			{Kind: explain.KindCluster, Name: "a", Acknowledged: true}, {Kind: explain.KindAssignment, Name: "a"},
			{Kind: explain.KindRoutes, Name: "http", Rejected: "no", Without: true},
		}},
		{ID: "grpc", Role: "mesh", Unknown: true,
			Resources: []explain.ResourceView{{Kind: explain.KindListener, Name: "h", Acknowledged: true, Absent: true}}},
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
			{Hosts: []string{"hello.default.localhost"}, LocalHosts: []string{"hello.default"},
				Shares: []model.Share{{Revision: revision, Percent: 100}}, TagHeader: []model.TagShare{{Tag: "one", Revision: revision}}},
			{Tag: "two", Hosts: []string{"two-hello.default.localhost"}},
		}}},
		Backends: []*model.Backend{{
			Revision: revision, Via: model.ViaActivator, Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: 9000}},
		}},
	}
	set, _ := translator.Diff(nil, translator.Translate(world, nil))
	var resources []status.Resource
	for _, r := range set {
		if r.Roles&translator.RoleGateway != 0 {
			resources = append(resources, status.Resource{
				TypeURL: r.Type, Name: r.Name, Content: &anypb.Any{TypeUrl: r.Type, Value: r.Body},
			})
		}
	}
	got, err := readOffer(desired(resources...))
	if err != nil {
		t.Fatal(err)
	}
	all := []explain.Weight{{Cluster: "default/hello-1", Weight: 100}}
	want := explain.Offer{
		Listeners: map[string]explain.Listener{
			"http": {Address: "127.0.0.1:8080", Routes: "http"}, "local": {Address: "127.0.0.1:8081", Routes: "local"},
		},
		VirtualHosts: map[string][]explain.VirtualHost{
			"http": {{Name: "default/hello", Domains: []string{"hello.default.localhost"}, Clusters: all},
				{Name: "default/hello/two", Domains: []string{"two-hello.default.localhost"}, Answers: 503}},
			"local": {{Name: "default/hello", Domains: []string{"hello.default"}, Clusters: all}},
		},
		Clusters: map[string]bool{"activator": true, "default/hello-1": true},
		Assignments: map[string][]explain.Zone{
			"activator": {{Name: "activator", Endpoints: []string{"127.0.0.1:8012"}}},
			"default/hello-1": {{Name: "activator", Endpoints: []string{"127.0.0.1:8012"}},
				{Name: "pods", Priority: 1, Endpoints: []string{"127.0.0.1:9000"}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestScopesBelongToTheirListener(t *testing.T) {
	offered := func(typeURL, name string, m proto.Message) status.Resource {
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return status.Resource{TypeURL: typeURL, Name: name, Content: &anypb.Any{TypeUrl: typeURL, Value: body}}
	}
	got, err := readOffer(desired(
		offered(resource.ScopedRouteType, "http/hello.default.localhost",
			&routev3.ScopedRouteConfiguration{RouteConfigurationName: "hello.default"}),
		offered(resource.RouteType, "hello.default", &routev3.RouteConfiguration{
			Name: "hello.default", VirtualHosts: []*routev3.VirtualHost{{Name: "default/hello", Domains: []string{"*"}}},
		}),
	))
	if err != nil || len(got.VirtualHosts["http"]) != 1 || got.VirtualHosts["http"][0].Name != "default/hello" ||
		got.VirtualHosts["http"][0].Routes != "hello.default" ||
		!slices.Equal(got.VirtualHosts["http"][0].Domains, []string{"hello.default.localhost"}) {
		t.Errorf("got %+v, %v", got.VirtualHosts, err)
	}
}

func TestServerThatOffersNothingIsNamed(t *testing.T) {
	if _, err := readOffer(nil); err == nil || !strings.Contains(err.Error(), "offers to gateways") {
		t.Errorf("got %v", err)
	}
	broken := status.Resource{
		TypeURL: resource.ClusterType, Name: "a", Content: &anypb.Any{TypeUrl: resource.ClusterType, Value: []byte("x")},
	}
	if _, err := readOffer(desired(broken)); err == nil || !strings.Contains(err.Error(), `Cluster "a"`) {
		t.Errorf("got %v", err)
	}
}
