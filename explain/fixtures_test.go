package explain

import (
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

func in(name string) model.Key { return model.Key{Namespace: "default", Name: name} }

func ready(status model.Status, reason, message string) []model.Condition {
	return []model.Condition{{Type: model.Ready, Status: status, Reason: reason, Message: message}}
}

func revision(name string, desired, actual int) *RevisionState {
	r := &RevisionState{
		Revision: &model.Revision{Key: in(name), Service: "hello", Configuration: "hello", WasReady: true}, Generation: 1, Observed: 1,
		Desired: desired, Actual: actual,
	}
	r.Conditions = ready(model.True, "", "")
	r.Ready = r.Conditions[0]
	return r
}

// failed makes a revision one that did not become ready.
func failed(r *RevisionState, reason, message string) *RevisionState {
	r.WasReady, r.Desired, r.Actual = false, 1, 0
	r.Conditions = ready(model.False, reason, message)
	r.Ready = r.Conditions[0]
	return r
}

func pods(address string) Zone { return Zone{Name: contract.ZonePods, Endpoints: []string{address}} }

func activators(priority int) Zone {
	return Zone{Name: contract.ZoneActivator, Priority: priority, Endpoints: []string{"127.0.0.1:8012"}}
}

func acknowledged(kind, name string) ResourceView {
	return ResourceView{Kind: kind, Name: name, Acknowledged: true}
}

// canary is a Service whose requests go to hello-blue (70 percent, awake) and hello-green (30 percent, asleep, tag green).
func canary() Input {
	routes := &model.RouteSpec{
		Key: in("hello"), Service: "hello", Generation: 2, Observed: 2, Created: time.Unix(1000, 0),
		URL: "http://hello.default.localhost:8080", Address: "http://hello.default.svc.cluster.local",
		Traffic: []model.Target{{Revision: "hello-blue", Percent: 70}, {Revision: "hello-green", Percent: 30, Tag: "green"}},
		Served: []model.Target{
			{Revision: "hello-blue", Percent: 70},
			{Revision: "hello-green", Percent: 30, Tag: "green", URL: "http://green-hello.default.localhost:8080"},
		},
		Conditions: ready(model.True, "", ""),
	}
	i := Input{Query: Query{Key: in("hello")}}
	i.Objects = Objects{
		Services: []*model.Service{{Key: in("hello"), Generation: 2, Observed: 2, Conditions: ready(model.True, "", "")}},
		Configurations: []*model.Configuration{{
			Key: in("hello"), Generation: 2, Observed: 2, LatestCreated: "hello-green", LatestReady: "hello-green",
			Conditions: ready(model.True, "", ""),
		}},
		Routes:    []*model.RouteSpec{routes},
		Revisions: []*RevisionState{revision("hello-blue", 1, 1), revision("hello-green", 0, 0)},
	}
	i.Views = views()
	return i
}

func views() Views {
	clusters := []Weight{{"default/hello-blue", 70}, {"default/hello-green", 30}}
	green := []Weight{{"default/hello-green", 100}}
	var has []ResourceView
	for _, kind := range []string{KindListener, KindRoutes} {
		has = append(has, acknowledged(kind, "http"), acknowledged(kind, "local"))
	}
	for _, name := range []string{"default/hello-blue", "default/hello-green"} {
		has = append(has, acknowledged(KindCluster, name), acknowledged(KindAssignment, name))
	}
	return Views{
		Offered: Offer{
			Listeners: map[string]Listener{
				"http": {Address: "127.0.0.1:8080", Routes: "http"}, "local": {Address: "127.0.0.1:8081", Routes: "local"},
			},
			VirtualHosts: map[string][]VirtualHost{
				"http": {
					{Name: "default/hello", Domains: []string{"hello.default.localhost"}, Clusters: clusters},
					{Name: "default/hello/green", Domains: []string{"green-hello.default.localhost"}, Clusters: green},
				},
				"local": {
					{Name: "default/hello", Domains: []string{"hello.default", "hello.default.svc", "hello.default.svc.cluster.local"},
						Clusters: clusters},
					{Name: "default/hello/green",
						Domains:  []string{"green-hello.default", "green-hello.default.svc", "green-hello.default.svc.cluster.local"},
						Clusters: green},
				},
			},
			Clusters: map[string]bool{"default/hello-blue": true, "default/hello-green": true},
			Assignments: map[string][]Zone{
				"default/hello-blue":  {pods("127.0.0.1:40001"), activators(1)},
				"default/hello-green": {activators(0)},
			},
		},
		Clients: []View{
			{ID: "edge-1", Role: contract.Gateway, Resources: has},
			{ID: "activator-1", Role: contract.Activator, Resources: []ResourceView{acknowledged(KindAssignment, "default/hello-green")}},
			{ID: "bystander", Role: "mesh", Resources: []ResourceView{acknowledged(KindListener, "other.default.localhost")}},
		},
	}
}

// mapped asks for a domain that a DomainMapping maps to the Service, and returns the DomainMapping.
func mapped(i *Input) *model.Mapping {
	m := &model.Mapping{
		Key: in("www.example.com"), Generation: 1, Observed: 1, Target: model.Ref{Kind: servingService, Key: in("hello")},
		Conditions: ready(model.True, "", ""),
	}
	younger := *m
	younger.Key.Namespace, younger.Created = "other", time.Unix(2000, 0)
	i.Query = Query{Host: "www.example.com"}
	i.Objects.Mappings = []*model.Mapping{&younger, m}
	hosts := i.Views.Offered.VirtualHosts
	hosts["http"] = append(hosts["http"], VirtualHost{
		Name: "default/www.example.com", Domains: []string{"www.example.com"}, Clusters: hosts["http"][0].Clusters,
	})
	return m
}
