package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
)

// discovering is the route configuration http, whose virtual hosts are resources of their own.
func discovering(t testing.TB) *xds.Resource {
	return res(t, resource.RouteType, "http", &routev3.RouteConfiguration{Name: "http", Vhds: &routev3.Vhds{ConfigSource: ads()}})
}

// vhdsHost is one of those virtual hosts.
func vhdsHost(t testing.TB, name, domains string, routes ...*routev3.Route) *xds.Resource {
	return res(t, resource.VirtualHostType, "http/"+name, vhost("http/"+name, domains, routes...))
}

// toBoth are two clusters that say their names.
func toBoth(t testing.TB) []*xds.Resource {
	return all(backend(t, "a", upstream(t, says("a"))), backend(t, "b", upstream(t, says("b"))))
}

func to1(cluster string) *routev3.Route { return to(prefix("/"), cluster) }

func TestDiscoveredVirtualHostsAreServed(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), toBoth(t), one(discovering(t)), one(vhdsHost(t, "x", "x.test *.x.test", to1("a"))), one(vhdsHost(t, "y", "y.test", to1("a"))))...)
	b.get("http://x.test/").want(t, 200, "a")
	b.get("http://www.x.test/").want(t, 200, "a")
	b.push(vhdsHost(t, "x", "x.test", to1("b")))
	b.get("http://x.test/").want(t, 200, "b")
	b.get("http://www.x.test/").want(t, 404, "")
	b.push(vhdsHost(t, "any", "*", to1("a")))
	b.get("http://www.x.test/").want(t, 200, "a")
	b.update(xds.Update{Removed: all(one(vhdsHost(t, "y", "")), one(vhdsHost(t, "any", "")))})
	b.get("http://y.test/").want(t, 404, "")
	b.push(res(t, resource.RouteType, "http", &routev3.RouteConfiguration{Name: "http", Vhds: &routev3.Vhds{ConfigSource: ads()}, ResponseHeadersToAdd: headers("x-config", "new")}))
	if got := b.get("http://x.test/"); got.StatusCode != 200 || got.Header.Get("x-config") != "new" {
		t.Errorf("after a change of the route configuration alone: %d, %v", got.StatusCode, got.Header)
	}
	dump, err := http.Get(b.admin.URL + "/config_dump")
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Body.Close()
	if text, err := io.ReadAll(dump.Body); err != nil || !strings.Contains(string(text), `"http/x"`) {
		t.Errorf("the dump does not have the virtual host (%v): %s", err, text)
	}
}

func TestDomainMovesBetweenDiscoveredVirtualHosts(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), toBoth(t), one(discovering(t)), one(vhdsHost(t, "x", "x.test m.test", to1("a"))), one(vhdsHost(t, "y", "y.test", to1("b"))))...)
	for range 3 {
		b.push(vhdsHost(t, "x", "x.test", to1("a")), vhdsHost(t, "y", "y.test m.test", to1("b")))
		b.get("http://m.test/").want(t, 200, "b")
		b.push(vhdsHost(t, "x", "y.test", to1("a")), vhdsHost(t, "y", "x.test m.test", to1("b"))) // swapped
		b.get("http://x.test/").want(t, 200, "b")
		b.get("http://y.test/").want(t, 200, "a")
		b.push(vhdsHost(t, "x", "x.test m.test", to1("a")), vhdsHost(t, "y", "y.test", to1("b")))
		b.get("http://m.test/").want(t, 200, "a")
	}
	had := b.refusals()
	b.update(xds.Update{Set: one(vhdsHost(t, "z", "m.test", to1("b"))), Removed: one(vhdsHost(t, "x", ""))})
	b.get("http://m.test/").want(t, 200, "b")
	if b.refusals() != had {
		t.Errorf("the move was refused: %s", b.refusal(had))
	}
}

func TestRefusedVirtualHostHoldsUpNoOther(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), toBoth(t), one(discovering(t)), one(vhdsHost(t, "w", "w.test", to1("a"))), one(vhdsHost(t, "x", "x.test", to1("a"))), one(vhdsHost(t, "y", "y.test", to1("a"))))...)
	for name, c := range map[string]struct {
		bad  *xds.Resource
		want []string
	}{
		"not understood": {vhdsHost(t, "x", "x.test", to(&routev3.RouteMatch{PathSpecifier: prefix("/").PathSpecifier, QueryParameters: []*routev3.QueryParameterMatcher{{Name: "q"}}}, "c")),
			[]string{`virtual host "http/x"`, "routes[0].match.query_parameters"}},
		"taken":      {vhdsHost(t, "x", "new.test w.test", to1("b")), []string{`virtual host "http/x"`, "domains[1]", `"w.test"`, `"w"`, "once"}},
		"other name": {res(t, resource.VirtualHostType, "http/x", vhost("x", "x.test", to1("b"))), []string{`virtual host "http/x"`, "name"}},
		"garbage":    {raw(resource.VirtualHostType, "http/x", []byte("\xff")), []string{`virtual host "http/x"`}},
	} {
		b.get("http://x.test/").want(t, 200, "a")
		had := b.refusals()
		b.server.Apply(xds.Update{Set: all(one(c.bad), one(vhdsHost(t, "y", "y.test", to1("b"))), one(vhdsHost(t, "z", "z.test", to1("b"))))})
		text := b.refusal(had)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the NACK says %q; it should name %q", name, text, want)
			}
		}
		b.get("http://x.test/").want(t, 200, "a")
		b.get("http://new.test/").want(t, 404, "")
		b.get("http://y.test/").want(t, 200, "b")
		b.get("http://z.test/").want(t, 200, "b")
		b.mu.Lock()
		if names := b.nacks[len(b.nacks)-1].Names; len(names) != 1 || names[0] != "http/x" {
			t.Errorf("%s: the control plane takes the refusal for one of %v", name, names)
		}
		b.mu.Unlock()
		b.update(xds.Update{Set: all(one(vhdsHost(t, "x", "x.test", to1("a"))), one(vhdsHost(t, "y", "y.test", to1("a")))), Removed: one(vhdsHost(t, "z", ""))})
		b.get("http://y.test/").want(t, 200, "a")
		b.get("http://z.test/").want(t, 404, "")
	}
}

// A virtual host that is refused while others take its domains keeps those that it can, and gives up no more when it goes.
func TestRefusedVersionKeepsWhatNobodyTook(t *testing.T) {
	set := &hostSet{members: map[string]discovered{}, hosts: &hostTable{}}
	change := func(removed []string, hosts ...*xds.Resource) error {
		u := &client.Update{Removed: removed}
		for _, h := range hosts {
			u.Set = append(u.Set, client.Resource{Name: h.Name, Body: h.Body})
		}
		return set.change(u)
	}
	finds := func(domain, want string) {
		t.Helper()
		got := ""
		if vh := set.hosts.find(domain); vh != nil {
			got = vh.name
		}
		if got != want {
			t.Errorf("%s is that of %q, want %q", domain, got, want)
		}
	}
	if err := change(nil, vhdsHost(t, "x", "one.test two.test", to1("a")), vhdsHost(t, "y", "y.test", to1("a"))); err != nil {
		t.Fatal(err)
	}
	if err := change(nil, vhdsHost(t, "x", "y.test", to1("a")), vhdsHost(t, "z", "two.test", to1("a"))); err == nil {
		t.Fatal("a domain has two virtual hosts")
	}
	finds("one.test", "http/x")
	finds("two.test", "http/z")
	finds("y.test", "http/y")
	if err := change([]string{"http/x"}); err != nil {
		t.Fatal(err)
	}
	finds("one.test", "")
	finds("two.test", "http/z")
}

// Requests that come as soon as there is an address wait for the virtual hosts.
func TestNoRequestIsAnsweredBeforeTheVirtualHosts(t *testing.T) {
	for range 5 {
		b := start(t, Options{})
		hosts := make([]*xds.Resource, 2000)
		for i := range hosts {
			hosts[i] = vhdsHost(t, fmt.Sprint("h", i), fmt.Sprintf("h%d.test", i), to1("a"))
		}
		b.server.Apply(xds.Update{Set: all(one(plain(t)), toBoth(t), one(discovering(t)), hosts)})
		stop := load(4, func() string { return b.address("http") }, "h1999.test")
		b.until("all of it", func() bool { return b.progress >= 1 })
		b.get("http://h1999.test/").want(t, 200, "a")
		if sent, failures := stop(); len(failures) > 0 {
			t.Fatalf("%d of %d requests failed: %s", len(failures), sent, failures[0])
		}
		b.stop()
	}
}

func TestNoRequestFailsWhileVirtualHostsMoveInAndOut(t *testing.T) {
	b := start(t, Options{})
	clusters := toBoth(t)
	within := func(cluster string) *xds.Resource { return routes(t, vhost("x", "x.test", to1(cluster))) }
	b.push(all(one(plain(t)), clusters, one(within("a")))...)
	stop := load(4, func() string { return b.address("http") }, "x.test")
	for range 30 {
		b.update(xds.Update{Set: all(one(discovering(t)), one(vhdsHost(t, "x", "x.test", to1("b")))), Removed: clusters[:2]})
		b.update(xds.Update{Set: all(clusters[:2], one(vhdsHost(t, "x", "x.test", to1("a")))), Removed: clusters[2:]})
		b.update(xds.Update{Set: all(clusters[2:], one(within("b"))), Removed: all(one(vhdsHost(t, "x", "")), clusters[:2])})
		b.update(xds.Update{Set: all(clusters[:2], one(within("a")))})
	}
	if sent, failures := stop(); len(failures) > 0 || sent == 0 {
		t.Fatalf("%d of %d requests failed: %s", len(failures), sent, failures[0])
	}
	if b.refusals() > 0 {
		t.Errorf("the gateway refused: %s", b.refusal(0))
	}
}
