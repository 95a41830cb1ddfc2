package translator_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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
	add := func(config string, vh *routev3.VirtualHost) {
		domains := vh.GetDomains()
		vh.Domains = nil
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(vh)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range domains {
			if _, twice := all[config+" "+d]; twice {
				t.Fatalf("%s has the domain %q twice", config, d)
			}
			all[config+" "+d] = string(body)
		}
	}
	for id, r := range contents(t, o) {
		switch {
		case id.roles != translator.RoleGateway:
		case id.typ == translator.RouteType:
			var config routev3.RouteConfiguration
			if err := proto.Unmarshal(r.Body, &config); err != nil {
				t.Fatal(err)
			}
			if !config.GetIgnorePortInHostMatching() {
				t.Fatalf("%s looks for hosts with their ports", id.name)
			}
			for _, vh := range config.GetVirtualHosts() {
				add(id.name, vh)
			}
		case id.typ == translator.ScopedRouteType:
			var scope routev3.ScopedRouteConfiguration
			if err := proto.Unmarshal(r.Body, &scope); err != nil {
				t.Fatal(err)
			}
			listener, host, _ := strings.Cut(id.name, "/")
			var key []string
			for _, f := range scope.GetKey().GetFragments() {
				key = append(key, f.GetStringKey())
			}
			if want := map[string][]string{"http": {host}, "local": {host, host}}[listener]; scope.GetName() != id.name || !slices.Equal(key, want) {
				t.Fatalf("the scope %q is named %q and has the key %q, want %q", id.name, scope.GetName(), key, want)
			}
			vh := scope.GetRouteConfiguration().GetVirtualHosts()[0]
			if !slices.Equal(vh.GetDomains(), []string{"*"}) {
				t.Fatalf("the scope %q has the domains %q", id.name, vh.GetDomains())
			}
			vh.Domains = []string{host}
			add(listener, vh)
		}
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

func TestChangeOfARouteIsItsScopesAlone(t *testing.T) {
	w := world(100)
	w.Gateway.Routes = model.Scoped
	before := translator.Translate(w, nil)
	set, removed := translator.Diff(before, translator.Translate(withTimeout(w, 7, time.Second), before))
	var got []string
	for _, r := range set {
		if r.Roles&translator.RoleGateway != 0 {
			got = append(got, r.Name)
		}
	}
	var want []string
	for _, h := range w.Routes[7].Rules[0].Hosts {
		want = append(want, "http/"+h)
	}
	for _, h := range w.Routes[7].Rules[0].LocalHosts {
		want = append(want, "local/"+h)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(removed) > 0 {
		t.Errorf("a gateway is sent (-want +got; removed %d):\n%s", len(removed), diff)
	}
}

func TestHostThatMovesBetweenRoutesIsOneChange(t *testing.T) {
	revision := model.Key{Namespace: "ns", Name: "a-1"}
	route := func(name string, hosts ...string) *model.Route {
		return &model.Route{Key: model.Key{Namespace: "ns", Name: name}, Rules: []model.Rule{{
			Hosts: hosts, Shares: []model.Share{{Revision: revision, Percent: 100}},
		}}}
	}
	world := func(routes ...*model.Route) *model.World {
		return &model.World{
			Gateway: model.Gateway{HTTP: "127.0.0.1:80", Routes: model.Scoped}, Routes: routes, Backends: []*model.Backend{{Revision: revision}},
		}
	}
	before := translator.Translate(world(route("a", "x.test", "y.test"), route("b")), nil)
	set, removed := translator.Diff(before, translator.Translate(world(route("a", "y.test"), route("b", "x.test")), before))
	for _, r := range slices.Concat(set, removed) {
		if r.Type == translator.ScopedRouteType && r.Name != "http/x.test" || slices.Contains(removed, r) && r.Type == translator.ScopedRouteType {
			t.Errorf("a gateway is told of %s, which did not change, or that it is gone", r.Name)
		}
	}
	if !slices.ContainsFunc(set, func(r *translator.Resource) bool { return r.Name == "http/x.test" }) {
		t.Error("a gateway is not told that the host has other routes")
	}
}
