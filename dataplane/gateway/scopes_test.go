package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// byScope makes a manager find its routes by scope, with the host n times in the key.
func byScope(n int) func(*hcmv3.HttpConnectionManager) {
	host := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{
		Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
			HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
				Name: ":authority", ElementSeparator: ":",
				ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
			},
		},
	}
	return func(m *hcmv3.HttpConnectionManager) {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
			Name: "http", RdsConfigSource: ads(),
			ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{
				Fragments: slices.Repeat([]*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{host}, n),
			},
			ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
		}}
	}
}

// hostScope is the scope of a host, with the host n times in its key.
func hostScope(t testing.TB, name, host string, n int, routes ...*routev3.Route) *resource.Resource {
	fragment := &routev3.ScopedRouteConfiguration_Key_Fragment{
		Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: host},
	}
	return res(t, gcpresource.ScopedRouteType, name, &routev3.ScopedRouteConfiguration{
		Name: name,
		Key: &routev3.ScopedRouteConfiguration_Key{
			Fragments: slices.Repeat([]*routev3.ScopedRouteConfiguration_Key_Fragment{fragment}, n),
		},
		RouteConfiguration: &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{vhost(name, "*", routes...)}},
	})
}

func TestGatewayUnsubscribesFromScopesWithItsLastListenerThatHasThem(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t, byScope(1))), toBoth(t), one(hostScope(t, "x", "x.test", 1, to1("a"))))...)
	b.get("http://x.test/").want(t, 200, "a")
	b.push(plain(t), routes(t, vhost("x", "x.test", to1("b"))))
	b.get("http://x.test/").want(t, 200, "b")
	b.until("it has no scopes", func() bool {
		b.gateway.mu.Lock()
		defer b.gateway.mu.Unlock()
		return !b.gateway.scopes.following
	})
}

// toBoth are the clusters a and b, whose endpoints respond with their names.
func toBoth(t testing.TB) []*resource.Resource {
	return all(backend(t, "a", upstream(t, says("a"))), backend(t, "b", upstream(t, says("b"))))
}

func to1(cluster string) *routev3.Route { return to(prefix("/"), cluster) }

func TestScopedRoutesAreServed(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t, byScope(1))), toBoth(t), one(hostScope(t, "x", "x.test", 1, to1("a"))),
		one(hostScope(t, "local", "local.test", 2, to1("a"))))...)
	b.get("http://x.test/").want(t, 200, "a")
	b.get("http://X.Test/").want(t, 200, "a")
	b.get("http://x.test:8080/").want(t, 200, "a")
	b.get("http://www.x.test/").want(t, 404, "")
	b.get("http://local.test/").want(t, 404, "") // its key is another listener's
	b.push(hostScope(t, "x", "x.test", 1, to1("b")))
	b.get("http://x.test/").want(t, 200, "b")
	b.update(resource.Update{Removed: one(hostScope(t, "x", "", 1))})
	b.get("http://x.test/").want(t, 404, "")
	b.push(plain(t, byScope(2)))
	b.get("http://local.test/").want(t, 200, "a")
	dump, err := http.Get(b.admin.URL + "/config_dump")
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Body.Close()
	if text, err := io.ReadAll(dump.Body); err != nil || !strings.Contains(string(text), `"local.test"`) {
		t.Errorf("the dump does not have the scope (%v): %s", err, text)
	}
}

// namedScope is the scope of a host that names a route configuration.
func namedScope(t testing.TB, host, routes string) *resource.Resource {
	return res(t, gcpresource.ScopedRouteType, host, &routev3.ScopedRouteConfiguration{
		Name: host, RouteConfigurationName: routes,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: host},
		}}},
	})
}

// routesOf is a route configuration that sends all requests to a cluster.
func routesOf(t testing.TB, name, cluster string) *resource.Resource {
	return res(t, gcpresource.RouteType, name, &routev3.RouteConfiguration{
		Name: name, VirtualHosts: []*routev3.VirtualHost{vhost(name, "*", to1(cluster))},
	})
}

func TestScopesShareRoutesByName(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t, byScope(1))), toBoth(t), one(namedScope(t, "x.test", "x")), one(namedScope(t, "www.test", "x")),
		one(routesOf(t, "x", "a")))...)
	stop := load(4, func() string { return b.address("http") }, "x.test")
	for range 10 {
		b.push(routesOf(t, "x", "b"))
		b.get("http://x.test/").want(t, 200, "b")
		b.get("http://www.test/").want(t, 200, "b")
		b.push(routesOf(t, "x", "a"))
		b.get("http://www.test/").want(t, 200, "a")
	}
	if sent, failures := stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(failures), sent, failures[0])
	}
	has := func() bool {
		b.gateway.mu.Lock()
		defer b.gateway.mu.Unlock()
		return b.gateway.routes["x"] != nil
	}
	b.update(resource.Update{Removed: one(namedScope(t, "x.test", ""))})
	b.get("http://x.test/").want(t, 404, "")
	b.get("http://www.test/").want(t, 200, "a")
	if !has() {
		t.Error("routes are gone that a scope still names")
	}
	b.update(resource.Update{Removed: all(one(namedScope(t, "www.test", "")), one(routesOf(t, "x", "")))})
	b.until("the gateway unsubscribes from the routes", func() bool { return !has() })
	b.push(namedScope(t, "x.test", "x"), routesOf(t, "x", "b"))
	b.get("http://x.test/").want(t, 200, "b")
	if b.refusals() > 0 {
		t.Errorf("refused: %s", b.refusal(0))
	}
}

func TestKeyMovesBetweenScopes(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t, byScope(1))), toBoth(t), one(hostScope(t, "x", "x.test", 1, to1("a"))),
		one(hostScope(t, "y", "y.test", 1, to1("b"))))...)
	stop := load(4, func() string { return b.address("http") }, "x.test")
	for range 3 {
		b.push(hostScope(t, "x", "y.test", 1, to1("a")), hostScope(t, "y", "x.test", 1, to1("b"))) // swapped
		b.get("http://x.test/").want(t, 200, "b")
		b.get("http://y.test/").want(t, 200, "a")
		b.push(hostScope(t, "x", "x.test", 1, to1("a")), hostScope(t, "y", "y.test", 1, to1("b")))
		b.get("http://x.test/").want(t, 200, "a")
	}
	if sent, failures := stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(failures), sent, failures[0])
	}
	if b.refusals() > 0 {
		t.Errorf("the move was refused: %s", b.refusal(0))
	}
}

func TestRejectedScopeDoesNotBlockOthers(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t, byScope(1))), toBoth(t), one(hostScope(t, "w", "w.test", 1, to1("a"))),
		one(hostScope(t, "x", "x.test", 1, to1("a"))), one(hostScope(t, "y", "y.test", 1, to1("a"))))...)
	onDemand := &routev3.ScopedRouteConfiguration{Name: "x", OnDemand: true, RouteConfigurationName: "elsewhere",
		Key: &routev3.ScopedRouteConfiguration_Key{
			Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
				Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: "x.test"},
			}},
		}}
	for name, c := range map[string]struct {
		bad  *resource.Resource
		want []string
	}{
		"not understood": {hostScope(t, "x", "x.test", 1,
			to(&routev3.RouteMatch{PathSpecifier: prefix("/").PathSpecifier,
				QueryParameters: []*routev3.QueryParameterMatcher{{Name: "q"}}}, "c")),
			[]string{`scope "x"`, "routes[0].match.query_parameters"}},
		"taken":     {hostScope(t, "x", "w.test", 1, to1("b")), []string{`scope "x"`, "key", `"w"`, "once"}},
		"on demand": {res(t, gcpresource.ScopedRouteType, "x", onDemand), []string{`scope "x"`, "on_demand", "not supported"}},
		"without routes": {res(t, gcpresource.ScopedRouteType, "x", &routev3.ScopedRouteConfiguration{Name: "x", Key: onDemand.Key}),
			[]string{`scope "x"`, "route_configuration_name", "missing"}},
		"garbage": {raw(gcpresource.ScopedRouteType, "x", []byte("\xff")), []string{`scope "x"`}},
	} {
		had := b.refusals()
		b.server.Apply(resource.Update{
			Set: all(one(c.bad), one(hostScope(t, "y", "y.test", 1, to1("b"))), one(hostScope(t, "z", "z.test", 1, to1("b")))),
		})
		text := b.refusal(had)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the NACK says %q; it should name %q", name, text, want)
			}
		}
		b.get("http://w.test/").want(t, 200, "a")
		b.get("http://x.test/").want(t, 200, "a")
		b.get("http://y.test/").want(t, 200, "b")
		b.get("http://z.test/").want(t, 200, "b")
		b.update(resource.Update{
			Set:     all(one(hostScope(t, "x", "x.test", 1, to1("a"))), one(hostScope(t, "y", "y.test", 1, to1("a")))),
			Removed: one(hostScope(t, "z", "", 1)),
		})
		b.get("http://y.test/").want(t, 200, "a")
		b.get("http://z.test/").want(t, 404, "")
	}
}

// A refused scope loses its old key to another scope that takes it. When the refused scope is removed, the other one keeps the key.
func TestRejectedScopeLosesAKeyThatAnotherTook(t *testing.T) {
	s := &scopes{members: map[string]*scope{}, byKey: map[string]*scope{}, tables: &scopeTables{}}
	change := func(removed []string, set ...*resource.Resource) error {
		var u client.Update
		for _, r := range set {
			u.Set = append(u.Set, client.Resource{Name: r.Name, Version: r.Name, Body: r.Body})
		}
		fresh, err := compileScopes(u.Set)
		_, conflicts := s.change(removed, fresh)
		return errors.Join(err, conflicts)
	}
	finds := func(host, want string) {
		t.Helper()
		got := ""
		if m := s.byKey[host]; m != nil && s.tables.find(host) == m.slot.table() {
			got = m.Version
		}
		if got != want {
			t.Errorf("%s is that of %q, want %q", host, got, want)
		}
	}
	if err := change(nil, hostScope(t, "x", "x.test", 1), hostScope(t, "y", "y.test", 1)); err != nil {
		t.Fatal(err)
	}
	if err := change(nil, hostScope(t, "x", "y.test", 1), hostScope(t, "z", "x.test", 1)); err == nil {
		t.Fatal("a key has two scopes")
	}
	finds("x.test", "z")
	finds("y.test", "y")
	if err := change([]string{"x"}); err != nil {
		t.Fatal(err)
	}
	finds("x.test", "z")
}

// Requests that come as soon as the address is bound wait for the scopes.
func TestNoRequestIsAnsweredBeforeTheScopes(t *testing.T) {
	for range 5 {
		b := start(t, Options{})
		var hosts []*resource.Resource
		for i := range 1000 {
			host := fmt.Sprintf("h%d.test", i)
			hosts = append(hosts, namedScope(t, host, host), routesOf(t, host, "a"))
		}
		b.server.Apply(resource.Update{Set: all(one(plain(t, byScope(1))), toBoth(t), hosts)})
		stop := load(4, func() string { return b.address("http") }, "h999.test")
		b.until("all of it", func() bool { return b.progress >= 1 })
		b.get("http://h999.test/").want(t, 200, "a")
		if sent, failures := stop(); len(failures) > 0 {
			t.Fatalf("%d of %d requests failed: %s", len(failures), sent, failures[0])
		}
		b.stop()
	}
}

func TestNoRequestFailsWhileRoutesChangeTheirForm(t *testing.T) {
	b := start(t, Options{})
	clusters := toBoth(t)
	within := func(cluster string) *resource.Resource { return routes(t, vhost("x", "x.test", to1(cluster))) }
	b.push(all(one(plain(t)), clusters, one(within("a")))...)
	stop := load(4, func() string { return b.address("http") }, "x.test")
	for range 30 {
		b.update(resource.Update{
			Set:     all(one(plain(t, byScope(1))), one(hostScope(t, "x", "x.test", 1, to1("b")))),
			Removed: all(clusters[:2], one(within("a"))),
		})
		b.update(resource.Update{Set: all(clusters[:2], one(hostScope(t, "x", "x.test", 1, to1("a")))), Removed: clusters[2:]})
		b.update(resource.Update{
			Set: all(clusters[2:], one(plain(t)), one(within("b"))), Removed: all(one(hostScope(t, "x", "", 1)), clusters[:2]),
		})
		b.update(resource.Update{Set: all(clusters[:2], one(within("a")))})
	}
	if sent, failures := stop(); len(failures) > 0 || sent == 0 {
		t.Fatalf("%d of %d requests failed: %s", len(failures), sent, failures[0])
	}
	if b.refusals() > 0 {
		t.Errorf("the gateway refused: %s", b.refusal(0))
	}
}
