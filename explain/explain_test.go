package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

func TestVerdictTellsTheFirstBrokenLink(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Input)
		want   string // of the verdict
		link   string // the first broken one
		served bool
	}{
		{"everything is as asked", func(*Input) {},
			"Route default/hello is served: 2 revisions, 70/30, 1 of them asleep until a request comes; all 2 clients have it", "", true},
		{"a host", func(i *Input) { i.Query = Query{Host: "hello.default.localhost"} },
			"hello.default.localhost of Route default/hello is served: 2 revisions, 70/30", "", true},
		{"the host of a tag", func(i *Input) { i.Query = Query{Host: "green-hello.default.localhost"} },
			"green-hello.default.localhost of Route default/hello is served: 1 revision, asleep until a request comes; all 2 clients " +
				"have it", "", true},
		{"a host within the cluster", func(i *Input) { i.Query = Query{Host: "hello.default.svc.cluster.local"} },
			"is served: 2 revisions, 70/30", "", true},
		{"a Service that does not exist", func(i *Input) { i.Query.Key = in("helo") },
			"no: There is no Service, Route or Configuration default/helo. Did you mean default/hello?", LinkObject, false},
		{"a Service of another namespace", func(i *Input) { i.Query.Key = model.Key{Namespace: "team", Name: "hello"} },
			"Did you mean default/hello?", LinkObject, false},
		{"a name like nothing", func(i *Input) { i.Query.Key = in("unheard-of") },
			"List what there is: kubectl get ksvc -A", LinkObject, false},
		{"a Revision in place of a Service", func(i *Input) { i.Query.Key = in("hello-green") },
			"it is a Revision of default/hello. Did you mean default/hello?", LinkObject, false},
		{"a host that no Route has", func(i *Input) { i.Query = Query{Host: "hallo.default.localhost"} },
			"no: No Route and no DomainMapping has the host hallo.default.localhost: requests to it are answered 404. Did you mean " +
				"hello.default.localhost", LinkHost, false},
		{"a domain that is mapped", func(i *Input) { mapped(i) },
			"www.example.com of Route default/hello is served: 2 revisions, 70/30", "", true},
		{"a domain that is not claimed", func(i *Input) {
			mapped(i).Conditions = []model.Condition{{
				Type: model.DomainClaimed, Status: model.False, Reason: "DomainClaimFailed", Message: "no ClusterDomainClaim found",
			}}
		}, "no: DomainMapping default/www.example.com is not as asked: no ClusterDomainClaim found. An administrator can give", LinkHost, false},
		{"a domain that is mapped to nothing", func(i *Input) {
			m := mapped(i)
			m.Target.Key.Name = "hullo"
			m.Conditions = []model.Condition{{
				Type: model.ReferenceResolved, Status: model.False, Reason: "ResolveFailed",
				Message: `Service "hullo" referenced in spec.ref not found.`,
			}}
		}, `no: DomainMapping default/www.example.com is not as asked: Service "hullo" referenced in spec.ref not found. Correct`, LinkHost, false},
		{"a domain that is mapped to nothing, as nobody has seen yet", func(i *Input) { mapped(i).Target.Key.Name = "hullo" },
			"no: There is no Service, Route or Configuration default/hullo", LinkObject, false},
		{"a domain whose certificate is missing", func(i *Input) {
			mapped(i).Conditions = []model.Condition{{
				Type: model.CertificateProvisioned, Status: model.False, Reason: "CertificateProvisionFailed",
				Message: "Secret \"www\" does not exist.",
			}}
		}, "www.example.com of Route default/hello is served, but not as asked: DomainMapping default/www.example.com is not as asked: " +
			"Secret", LinkHost, true},
		{"a domain that is not offered yet", func(i *Input) {
			mapped(i)
			i.Views = views()
		}, "no: The xDS server offers no virtual host default/www.example.com for www.example.com", LinkVirtualHost, false},
		{"a domain whose DomainMapping nobody has seen", func(i *Input) { mapped(i).Generation = 2 },
			"The control plane has not seen generation 2 of DomainMapping default/www.example.com", LinkGeneration, true},
		{"the API cannot be read", func(i *Input) {
			*i = Input{Query: i.Query, Unreadable: &Failure{"Kubernetes API", "The Kubernetes API cannot be read", "Start sluice up"}}
		}, "no: The Kubernetes API cannot be read. Start sluice up", LinkAPI, false},
		{"the xDS server cannot be asked", func(i *Input) {
			i.Views, i.Unknown = Views{}, &Failure{"xDS server", "The xDS server 127.0.0.1:18000 cannot be asked", "Start sluice up"}
		}, "cannot tell whether Route default/hello is served: The xDS server 127.0.0.1:18000 cannot be asked. Start sluice up",
			LinkXDS, false},
		{"a generation that nobody has seen", func(i *Input) { i.Objects.Services[0].Generation = 3 },
			"Route default/hello is served, but not as asked: The control plane has not seen generation 3 of Service default/hello; its " +
				"status is of generation 2", LinkGeneration, true},
		{"a newest revision that fails while the ones before serve", func(i *Input) {
			i.Objects.Revisions = append(i.Objects.Revisions, failed(revision("hello-red", 0, 0), "ImagePullBackOff", "no such image"))
			i.Objects.Configurations[0].LatestCreated = "hello-red"
			i.Objects.Configurations[0].Conditions = ready(model.False, "RevisionFailed", `Revision "hello-red" failed`)
		}, "Route default/hello is served, but not as asked: Revision default/hello-red failed (ImagePullBackOff): " +
			"no such image. Correct the image", LinkRevision, true},
		{"a revision with a share that crashes", func(i *Input) { failed(i.Objects.Revisions[1], "ExitCode3", "the table is missing") },
			"no: Revision default/hello-green, which gets 30 % of the requests, failed (ExitCode3): the table is missing. Read what it " +
				"printed (.sluice/logs/default/hello-green", LinkRevision, false},
		{"a Route none of whose revisions was ever ready", func(i *Input) {
			failed(i.Objects.Revisions[1], "CommandNotFound", `command "/no" is not there`)
			r := i.Objects.Routes[0]
			r.Traffic, r.Served = []model.Target{{Configuration: "hello", Latest: true, Percent: 100}}, nil
			i.Objects.Configurations[0].LatestReady = ""
			r.Conditions = []model.Condition{{
				Type: model.AllTrafficAssigned, Status: model.False, Reason: "RevisionMissing",
				Message: "Configuration \"hello\" does not have any ready Revision.",
			}}
		}, "no: Revision default/hello-green, which is to get 100 % of the requests, failed (CommandNotFound)", LinkRevision, false},
		{"a revision in traffic that does not exist", func(i *Input) {
			i.Objects.Routes[0].Traffic[1] = model.Target{Revision: "hello-nowhere", Percent: 30}
			i.Objects.Routes[0].Conditions = []model.Condition{{
				Type: model.AllTrafficAssigned, Status: model.False, Reason: "RevisionMissing",
				Message: "Revision \"hello-nowhere\" referenced in traffic not found.",
			}}
		}, "Route default/hello is served, but not as asked: Revision default/hello-nowhere, which is to get 30 % of the requests, " +
			"does not exist. Name another in spec.traffic", LinkRevision, true},
		{"a host that an older Route has", func(i *Input) {
			i.Objects.Routes[0].Conditions = []model.Condition{{
				Type: model.IngressReady, Status: model.False, Reason: "DomainConflict",
				Message: `Route default/older, which is older, has "hello.default.localhost"; Route default/hello is served without`,
			}}
			i.Views.Offered.VirtualHosts["http"][0].Name = "default/older/hello"
		}, "no: Route default/older, which is older, has \"hello.default.localhost\"", LinkHost, false},
		{"an object that somebody else owns", func(i *Input) {
			i.Objects.Services[0].Conditions = []model.Condition{{
				Type: model.RoutesReady, Status: model.False, Reason: "NotOwned",
				Message: `There is an existing Route "hello" that we do not own.`,
			}}
		}, "no: There is an existing Route \"hello\" that we do not own. Delete that object", LinkObject, false},
		{"a virtual host that is not offered", func(i *Input) { i.Views.Offered.VirtualHosts["http"] = nil },
			"no: The xDS server offers no virtual host default/hello for hello.default.localhost", LinkVirtualHost, false},
		{"a cluster that is not offered", func(i *Input) { delete(i.Views.Offered.Clusters, "default/hello-blue") },
			"no: The xDS server offers no cluster for Revision default/hello-blue", LinkCluster, false},
		{"nobody to send requests to", func(i *Input) { i.Views.Offered.Assignments["default/hello-green"] = nil },
			"no: Cluster default/hello-green has no endpoint: no replica is ready and no activator is connected. Connect an activator",
			LinkEndpoints, false},
		{"no gateway", func(i *Input) { i.Views.Clients = i.Views.Clients[1:] },
			"no: No gateway is connected to the xDS server: one that was before serves what it had then. Start one", LinkClient, false},
		{"a client that rejects", func(i *Input) {
			i.Views.Clients[0].Resources[0] = ResourceView{Kind: KindListener, Name: "http", Rejected: "no such filter"}
		}, "is served, but not as asked: 1 client of 3 (gateway edge-1) keeps what it had and rejects Listener http: no such filter",
			LinkClient, true},
		{"an address that the only gateway cannot have", func(i *Input) {
			i.Views.Clients[0].Resources[0] = ResourceView{
				Kind: KindListener, Name: "http", Rejected: "http: cannot bind '127.0.0.1:8080': Address already in use", Without: true,
			}
		}, "no: 1 client of 3 (gateway edge-1) does not serve Listener http, which it rejects: http: cannot bind '127.0.0.1:8080': " +
			"Address already in use. Free that address", LinkClient, false},
		{"routes that the only gateway does not understand", func(i *Input) {
			i.Views.Clients[0].Resources[2] = ResourceView{
				Kind: KindRoutes, Name: "http", Rejected: "vhds: only 'DELTA_GRPC' is supported as an api_type", Without: true,
			}
		}, "no: 1 client of 3 (gateway edge-1) does not serve RouteConfiguration http, which it rejects: vhds: only", LinkClient, false},
		{"an address that one of two gateways cannot have", func(i *Input) {
			other := i.Views.Clients[0]
			other.ID, other.Resources = "edge-0", slices.Clone(other.Resources)
			other.Resources[0] = ResourceView{Kind: KindListener, Name: "http", Rejected: "http: cannot bind", Without: true}
			i.Views.Clients = append(i.Views.Clients, other)
		}, "is served, but not as asked: 1 client of 4 (gateway edge-0) does not serve Listener http, which it rejects", LinkClient, true},
		{"a new address that cannot be had", func(i *Input) {
			i.Views.Clients[0].Resources[0] = ResourceView{Kind: KindListener, Name: "http", Rejected: "http: cannot bind"}
		}, "is served, but not as asked: 1 client of 3 (gateway edge-1) keeps what it had and rejects Listener http: http: " +
			"cannot bind. Free that address", LinkClient, true},
		{"an address within the cluster that cannot be had", func(i *Input) {
			i.Views.Clients[0].Resources[1] = ResourceView{Kind: KindListener, Name: "local", Rejected: "local: cannot bind", Without: true}
		}, "is served, but not as asked: 1 client of 3 (gateway edge-1) does not serve Listener local", LinkClient, true},
		{"content that was rolled back for all clients, since one NACKs it",
			func(i *Input) { i.Objects.Routes[0].Conditions = rejected("default/hello-blue") },
			`is served, but not as asked: 1 of 3 gateways reject Cluster "default/hello-blue": no. They keep the version before it. ` +
				`Change what`, LinkClient, true},
		{"a host that has no part in what is rejected", func(i *Input) {
			i.Query, i.Objects.Routes[0].Conditions = Query{Host: "green-hello.default.localhost"}, rejected("default/hello-blue")
		}, "is served: 1 revision", "", true},
		{"a rejection that only the condition has", func(i *Input) {
			i.Objects.Routes[0].Conditions = rejected("default/hello-blue")
			i.Views, i.Unknown = Views{}, &Failure{"xDS server", "The xDS server cannot be asked", "Start sluice up"}
		}, "is not as asked, and whether it is served is unknown: Route default/hello is not served as asked: 1 of 3 gateways reject",
			LinkRoute, false},
		{"a client that is behind", func(i *Input) {
			i.Views.Clients[0].Lag = 2500 * time.Millisecond
			i.Views.Clients[0].Resources[2].Acknowledged = false
		}, "is served, but not as asked: 1 client of 3 (gateway edge-1) has not acknowledged RouteConfiguration http for 2.5 s",
			LinkClient, true},
		{"a gateway that was not sent a cluster", func(i *Input) {
			i.Views.Clients[0].Resources = i.Views.Clients[0].Resources[:6]
		}, "has not acknowledged Cluster default/hello-green", LinkClient, true},
		{"a client that takes nothing", func(i *Input) { i.Views.Clients[0] = View{ID: "edge-1", Role: contract.Gateway, Unknown: true} },
			"is served, but not as asked: 1 client of 3 (gateway edge-1) does not take what it is sent", LinkClient, true},
		{"a gradual rollout", func(i *Input) {
			r := i.Objects.Routes[0]
			r.Traffic = []model.Target{{Configuration: "hello", Latest: true, Percent: 100}}
			r.Served = []model.Target{
				{Revision: "hello-blue", Latest: true, Percent: 90}, {Revision: "hello-green", Latest: true, Percent: 10},
			}
			r.Rollout = `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-blue","percent":90},{"revisionName":"hello-green","percent":10}],"stepParams":{}}]}`
			r.Conditions = []model.Condition{{
				Type: model.IngressReady, Status: model.Unknown, Reason: "RolloutInProgress",
				Message: "A gradual rollout of the latest revision(s) is in progress.",
			}}
		}, "Route default/hello is served: 2 revisions, 90/10, a gradual rollout is under way", "", true},
		{"a Configuration of its own", func(i *Input) { i.Objects.Services, i.Objects.Routes = nil, nil },
			"no: There is no Route default/hello. Make a Route that names Configuration default/hello", LinkRoute, false},
		{"a Service that has no Route yet", func(i *Input) { i.Objects.Routes = nil },
			"no: Service default/hello has no Route yet", LinkRoute, false},
		{"a condition that no link explains", func(i *Input) {
			i.Objects.Services[0].Conditions = []model.Condition{
				{Type: model.RoutesReady, Status: model.Unknown, Reason: "Uninitialized", Message: "Waiting for load balancer to be ready"},
			}
		}, "Service default/hello says RoutesReady Unknown (Uninitialized): Waiting for load balancer to be ready", LinkRoute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := canary()
			c.change(&i)
			got := Explain(i)
			link := ""
			if len(got.Broken) > 0 {
				link = got.Broken[0].Link
			}
			if !strings.Contains(got.Verdict, c.want) || link != c.link || got.Served != c.served {
				t.Errorf("verdict  %s\nwant     %s\nfirst broken link %q, want %q; served %v, want %v\nbroken: %+v",
					got.Verdict, c.want, link, c.link, got.Served, c.served, got.Broken)
			}
			if strings.Contains(got.Verdict, "\n") {
				t.Errorf("the verdict is not one line: %q", got.Verdict)
			}
		})
	}
}

// rejected is the condition of a Route of which clients reject a cluster.
func rejected(cluster string) []model.Condition {
	return []model.Condition{{
		Type: model.IngressReady, Status: model.False, Reason: model.ResourceRejected,
		Message: fmt.Sprintf("1 of 3 gateways reject Cluster %q: no. They keep the version before it.", cluster),
	}}
}

func TestConsequencesAreNotToldAsCauses(t *testing.T) {
	i := canary()
	failed(i.Objects.Revisions[1], "ExitCode3", "the table is missing")
	i.Objects.Configurations[0].Conditions = ready(model.False, "RevisionFailed", `Revision "hello-green" failed`)
	i.Objects.Routes[0].Conditions = []model.Condition{
		{Type: model.AllTrafficAssigned, Status: model.False, Reason: "RevisionMissing", Message: "…"},
	}
	i.Objects.Services[0].Conditions = []model.Condition{
		{Type: model.ConfigurationsReady, Status: model.False, Reason: "RevisionFailed", Message: "…"},
	}
	if got := Explain(i); len(got.Broken) != 1 {
		t.Errorf("one revision failed; broken links are %+v", got.Broken)
	}
}

func TestEndpointsAreToldWithTheirWhy(t *testing.T) {
	for _, c := range []struct {
		name     string
		revision *RevisionState
		zones    []Zone
		via, why string
	}{
		{"awake", revision("hello-blue", 2, 2), []Zone{activators(1), pods("127.0.0.1:1")}, ViaReplicas,
			"1 replica is ready, with room for a burst"},
		{"asleep", revision("hello-blue", 0, 0), []Zone{activators(0)}, ViaActivator, "asleep: no replica runs"},
		{"starting", revision("hello-blue", 3, 0), []Zone{activators(0)}, ViaActivator, "3 replicas are asked for, none is ready yet"},
		{"too little room for a burst", revision("hello-blue", 1, 1),
			[]Zone{activators(0), {Name: contract.ZonePods, Priority: 1, Endpoints: []string{"127.0.0.1:1"}}}, ViaActivator,
			"too little room for a burst"},
		{"always behind the activator", func() *RevisionState { r := revision("hello-blue", 1, 1); r.BurstCapacity = "-1"; return r }(),
			[]Zone{activators(0), {Name: contract.ZonePods, Priority: 1, Endpoints: []string{"127.0.0.1:1"}}}, ViaActivator,
			"target-burst-capacity -1"},
		{"the only one that holds a limit", func() *RevisionState { r := revision("hello-blue", 1, 1); r.Unguarded = true; return r }(),
			[]Zone{activators(0), {Name: contract.ZonePods, Priority: 1, Endpoints: []string{"127.0.0.1:1"}}}, ViaActivator,
			"1 replica is ready; without queue-proxies only the activator enforces containerConcurrency"},
		{"without an activator", revision("hello-blue", 1, 1), []Zone{pods("127.0.0.1:1")}, ViaReplicas, "no activator is connected"},
		{"nobody", revision("hello-blue", 0, 0), nil, ViaNobody, "no replica is ready and no activator is connected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := canary()
			i.Objects.Revisions[0] = c.revision
			i.Views.Offered.Assignments["default/hello-blue"] = c.zones
			got := Explain(i).Revisions[0].Cluster
			if got.Via != c.via || !strings.Contains(got.Why, c.why) {
				t.Errorf("by way of %s: %s; want %s: %s", got.Via, got.Why, c.via, c.why)
			}
			for n, z := range got.Zones {
				if z.Priority != n {
					t.Errorf("zones are not in the order of priority: %+v", got.Zones)
				}
			}
		})
	}
}

func TestSplitAskedForIsComparedWithTheOneInForce(t *testing.T) {
	i := canary()
	i.Objects.Revisions = append(i.Objects.Revisions, failed(revision("hello-red", 0, 0), "ExitCode1", "oh"))
	i.Objects.Routes[0].Traffic = []model.Target{{Revision: "hello-blue", Percent: 50}, {Revision: "hello-red", Percent: 50}}
	want := []Target{
		{Revision: "hello-blue", Asked: 50, Given: []Share{{"hello-blue", 70}}, Why: "not in force yet"},
		{Revision: "hello-red", Asked: 50, Why: "Revision hello-red failed (ExitCode1)"},
		{Tag: "green", Revision: "hello-green", Given: []Share{{"hello-green", 30}},
			Why: "no longer asked for; it stays in force until the new split can be served"},
	}
	if diff := cmp.Diff(want, Explain(i).Route.Targets); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestClientsAreToldApart(t *testing.T) {
	i := canary()
	i.Views.Clients = append(i.Views.Clients,
		View{
			ID: "grpc-1", Role: "mesh", Resources: []ResourceView{
				acknowledged(KindListener, "hello.default.localhost"), acknowledged(KindRoutes, "default/hello"),
				{Kind: KindCluster, Name: "default/hello-blue", Rejected: "bad\ncluster"},
			},
		},
		View{ID: "grpc-2", Role: "mesh", Resources: []ResourceView{acknowledged(KindListener, "hello.default.localhost:80")}},
		View{ID: "edge-0", Role: contract.Gateway},
	)
	var got []string
	for _, c := range Explain(i).Clients {
		got = append(got, c.Role+" "+c.ID+" "+c.State)
	}
	want := []string{
		"gateway edge-0 behind", "gateway edge-1 in sync", "activator activator-1 in sync",
		"mesh bystander does not take it", "mesh grpc-1 rejects", "mesh grpc-2 in sync",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestScopesAreFound(t *testing.T) {
	i := canary()
	for name, l := range i.Views.Offered.Listeners {
		l.Scoped = true
		i.Views.Offered.Listeners[name] = l
	}
	gateway := &i.Views.Clients[0]
	if got := Explain(i).Broken; len(got) == 0 ||
		!strings.Contains(got[0].Message, "ScopedRouteConfiguration http/hello.default.localhost") {
		t.Errorf("a gateway that was not sent a scope: got %+v", got)
	}
	for _, h := range []string{"hello.default.localhost", "green-hello.default.localhost"} {
		gateway.Resources = append(gateway.Resources, acknowledged(KindScope, "http/"+h))
	}
	gateway.Resources[len(gateway.Resources)-2].Rejected = "no"
	if got := Explain(i).Broken; len(got) != 1 ||
		!strings.Contains(got[0].Message, "rejects ScopedRouteConfiguration http/hello.default.localhost: no") {
		t.Errorf("a gateway that rejects a scope: got %+v", got)
	}
}

func TestHostOfTwoRoutesBelongsToTheOlder(t *testing.T) {
	i := canary()
	i.Objects.Routes = append(i.Objects.Routes, &model.RouteSpec{Key: in("green-hello"), Created: time.Unix(2000, 0)})
	claims := Claims(i.Objects.Routes, "green-hello.default.localhost")
	if len(claims) != 2 || claims[0].Route.Key.Name != "hello" || claims[0].Tag != "green" {
		t.Errorf("got %+v, want the tag green of the older Route hello first", claims)
	}
}

func TestRevisionsWithoutRequestsAreCounted(t *testing.T) {
	i := canary()
	for n := range 3 {
		i.Objects.Revisions = append(i.Objects.Revisions, revision(fmt.Sprintf("hello-old-%d", n), 0, 0))
	}
	got := Explain(i)
	if len(got.Revisions) != 2 || got.OtherRevisions != 3 {
		t.Errorf("%d revisions and %d others, want 2 and 3", len(got.Revisions), got.OtherRevisions)
	}
}

func TestExplanationOfTheSameIsTheSame(t *testing.T) {
	first, err := json.Marshal(Explain(canary()))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := json.Marshal(Explain(canary())); string(again) != string(first) {
			t.Fatalf("first\n%s\nthen\n%s", first, again)
		}
	}
}

func BenchmarkExplainOneOf10000Routes(b *testing.B) {
	i := canary()
	i.Query = Query{Host: "hello.default.localhost"}
	for n := range 10_000 {
		name := fmt.Sprintf("other-%d", n)
		i.Objects.Routes = append(i.Objects.Routes, &model.RouteSpec{Key: in(name), Created: time.Unix(2000, 0)})
		vh := VirtualHost{Name: "default/" + name, Domains: []string{name + ".default.localhost"}}
		i.Views.Offered.VirtualHosts["http"] = append(i.Views.Offered.VirtualHosts["http"], vh)
		i.Views.Clients[0].Resources = append(i.Views.Clients[0].Resources, acknowledged(KindCluster, "default/"+name))
	}
	for b.Loop() {
		Explain(i)
	}
}
