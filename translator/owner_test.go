package translator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

func TestOwnersOfResources(t *testing.T) {
	ref := func(kind, name string) model.Ref {
		return model.Ref{Kind: kind, Key: model.Key{Namespace: "ns", Name: name}}
	}
	gateway := func(name string) []model.Ref { return []model.Ref{{Kind: "Gateway", Key: model.Key{Name: name}}} }
	w := &model.World{Gateway: model.Gateway{HTTP: ":8080"}}
	for _, name := range []string{"a", "b"} {
		w.Backends = append(w.Backends, &model.Backend{Revision: ref("", name+"-1").Key, Owner: ref("Revision", name+"-1")})
		w.Routes = append(w.Routes, &model.Route{Key: ref("", name).Key, Owner: ref("Route", name), Rules: []model.Rule{
			{Hosts: []string{name + ".example.com"}, LocalHosts: []string{name + ".ns"},
				Shares: []model.Share{{Revision: ref("", name+"-1").Key, Percent: 100}}},
			{Tag: "t", Hosts: []string{"t-" + name + ".example.com"}, Shares: []model.Share{{Revision: ref("", "a-1").Key, Percent: 100}}},
		}})
	}
	o := translator.Translate(w, nil)
	routeA, routeB := []model.Ref{ref("Route", "a")}, []model.Ref{ref("Route", "b")}
	for name, c := range map[string]struct {
		typeURL, name, text string
		role                uint8
		want                []model.Ref
	}{
		"cluster of two routes": {typeURL: translator.ClusterType, name: "ns/a-1",
			want: []model.Ref{ref("Revision", "a-1"), ref("Route", "a"), ref("Route", "b")}},
		"assignment": {typeURL: translator.AssignmentType, name: "ns/b-1",
			want: []model.Ref{ref("Revision", "b-1"), ref("Route", "b")}},
		"cluster of activators":   {typeURL: translator.ClusterType, name: "activator", want: gateway("activator")},
		"listener of the gateway": {typeURL: translator.ListenerType, name: "http", role: translator.RoleGateway, want: gateway("http")},
		"listener of a host":      {typeURL: translator.ListenerType, name: "a.example.com", role: translator.RoleMesh, want: routeA},
		"listener of host and port": {typeURL: translator.ListenerType, name: "t-b.example.com:80", role: translator.RoleMesh,
			want: routeB},
		"routes of gRPC clients": {typeURL: translator.RouteType, name: "ns/b/t", role: translator.RoleMesh, want: routeB},
		"routes of the gateway": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway, text: "no",
			want: gateway("http")},
		"by virtual host": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway,
			text: `virtual host "ns/a": no such thing`, want: routeA},
		"by tagged virtual host": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway,
			text: "VirtualHost(ns/a/t): bad.", want: routeA},
		"by host": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway,
			text: "duplicate domain: b.example.com.", want: routeB},
		"by cluster": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway,
			text: "route: unknown cluster 'ns/b-1'", want: routeB},
		"by part of another's name": {typeURL: translator.RouteType, name: "http", role: translator.RoleGateway, text: "xa.example.com",
			want: gateway("http")},
		"scope": {typeURL: translator.ScopedRouteType, name: "http/a.example.com", role: translator.RoleGateway,
			want: routeA},
		"routes of scopes": {typeURL: translator.RouteType, name: "http/a.example.com", role: translator.RoleGateway,
			want: routeA},
		"scope of a local host":      {typeURL: translator.ScopedRouteType, name: "local/b.ns", role: translator.RoleGateway, want: routeB},
		"what is there no longer":    {typeURL: translator.ClusterType, name: "ns/c-1", want: gateway("ns/c-1")},
		"routes of a route far away": {typeURL: translator.RouteType, name: "ns/c", role: translator.RoleMesh, want: gateway("ns/c")},
	} {
		if diff := cmp.Diff(c.want, o.Owners(c.typeURL, c.name, c.role, c.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
