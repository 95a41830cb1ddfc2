package translator_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// served is what the gateway's listeners serve, by "listener host": the virtual host, but for its domains.
func served(t *testing.T, o *translator.Output) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(listener, host string, vh *routev3.VirtualHost) {
		vh = proto.CloneOf(vh)
		vh.Domains = nil
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(vh)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[listener+" "+host]; twice {
			t.Fatalf("%s has the host %q twice", listener, host)
		}
		all[listener+" "+host] = string(body)
	}
	routes, scopes := gatewayMessages[*routev3.RouteConfiguration](t, o, translator.RouteType),
		gatewayMessages[*routev3.ScopedRouteConfiguration](t, o, translator.ScopedRouteType)
	for name, config := range routes {
		if strings.Contains(name, "/") {
			continue // of scopes
		}
		if !config.GetIgnorePortInHostMatching() {
			t.Fatalf("%s looks for hosts with their ports", name)
		}
		for _, vh := range config.GetVirtualHosts() {
			for _, host := range vh.GetDomains() {
				add(name, host, vh)
			}
		}
	}
	for name, scope := range scopes {
		listener, host, _ := strings.Cut(name, "/")
		var key []string
		for _, f := range scope.GetKey().GetFragments() {
			key = append(key, f.GetStringKey())
		}
		if want := map[string][]string{"http": {host}, "local": {host, host}}[listener]; scope.GetName() != name ||
			!slices.Equal(key, want) {
			t.Fatalf("the scope %q is named %q and has the key %q, want %q", name, scope.GetName(), key, want)
		}
		vh := routes[scope.GetRouteConfigurationName()].GetVirtualHosts()[0]
		if !slices.Equal(vh.GetDomains(), []string{"*"}) {
			t.Fatalf("the scope %q leads to the domains %q", name, vh.GetDomains())
		}
		add(listener, host, vh)
	}
	return all
}

// gatewayMessages are the gateway's resources of a type by name.
func gatewayMessages[T proto.Message](t *testing.T, o *translator.Output, typeURL string) map[string]T {
	t.Helper()
	all := map[string]T{}
	for id, r := range contents(t, o) {
		if id.typ != typeURL || id.roles != translator.RoleGateway {
			continue
		}
		var zero T
		m := zero.ProtoReflect().New().Interface().(T)
		if err := proto.Unmarshal(r.Body, m); err != nil {
			t.Fatal(err)
		}
		all[id.name] = m
	}
	return all
}

func TestScopesServeWhatInlineRoutesDo(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 6))
		w := &model.World{}
		for range 60 {
			w = change(r, w)
		}
		inline, scoped := *w, *w
		inline.Gateway.Routes, scoped.Gateway.Routes = model.Inline, model.Scoped
		want := served(t, translator.Translate(&inline, nil))
		if diff := cmp.Diff(want, served(t, translator.Translate(&scoped, nil))); diff != "" {
			t.Fatalf("seed %d (-inline +scoped):\n%s", seed, diff)
		}
	}
}

func TestChangeOfARouteChangesNoScope(t *testing.T) {
	w := world(100)
	w.Gateway.Routes = model.Scoped
	before := translator.Translate(w, nil)
	set, removed := translator.Diff(before, translator.Translate(withTarget(w, 7, 8), before))
	var got []string
	for _, r := range set {
		if r.Roles&translator.RoleGateway != 0 {
			got = append(got, r.Name)
		}
	}
	want := []string{"http/" + w.Routes[7].Rules[0].Hosts[0], "local/" + w.Routes[7].Rules[0].LocalHosts[0]}
	if diff := cmp.Diff(want, got); diff != "" || len(removed) > 0 {
		t.Errorf("a gateway is sent (-want +got; removed %d):\n%s", len(removed), diff)
	}
}

func TestHostsThatMoveBetweenRoutesChangeNoScope(t *testing.T) {
	revision := model.Key{Namespace: "ns", Name: "a-1"}
	route := func(name string, hosts ...string) *model.Route {
		return &model.Route{Key: model.Key{Namespace: "ns", Name: name}, Rules: []model.Rule{{
			Hosts: hosts, Shares: []model.Share{{Revision: revision, Percent: 100}},
		}}}
	}
	world := func(routes ...*model.Route) *model.World {
		return &model.World{
			Gateway: model.Gateway{HTTP: "127.0.0.1:80", Routes: model.Scoped}, Routes: routes,
			Backends: []*model.Backend{{Revision: revision}},
		}
	}
	before := translator.Translate(world(route("a", "x.test", "y.test"), route("b", "z.test")), nil)
	set, removed := translator.Diff(before, translator.Translate(world(route("a", "z.test"), route("b", "x.test", "y.test")), before))
	var got []string
	for _, r := range slices.Concat(set, removed) {
		if r.Roles&translator.RoleGateway != 0 {
			got = append(got, r.Type[strings.LastIndexByte(r.Type, '.')+1:]+" "+r.Name)
		}
	}
	slices.Sort(got)
	if want := []string{"RouteConfiguration http/x.test", "RouteConfiguration http/z.test"}; !slices.Equal(got, want) {
		t.Errorf("a gateway gets %q, want %q", got, want)
	}
}
