package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestHostsAreMatchedExactlyThenByTheLongestWildcard(t *testing.T) {
	b := start(t, Options{})
	set := one(plain(t))
	var hosts []*routev3.VirtualHost
	for name, domains := range map[string]string{
		"exact": "a.example.com", "deep": "*.b.example.com", "shallow": "*.example.com", "prefix": "api.*", "longprefix": "api.eu.*",
		"upper": "Mixed.Case",
	} {
		set = append(set, backend(t, name, upstream(t, says(name)))...)
		hosts = append(hosts, vhost(name, domains, to(prefix("/"), name)))
	}
	b.push(append(set, routes(t, hosts...))...)
	for host, want := range map[string]string{
		"a.example.com": "exact", "A.EXAMPLE.com": "exact", "a.example.com:8080": "exact", "x.b.example.com": "deep",
		"b.example.com":   "shallow",
		"x.y.example.com": "shallow", "api.us.test": "prefix", "api.eu.test": "longprefix", "mixed.case": "upper",
	} {
		if got := b.get("http://" + host + "/"); got.body != want {
			t.Errorf("%s went to %q (%d), want %q", host, got.body, got.StatusCode, want)
		}
	}
	unknown := b.get("http://unknown.test/")
	unknown.want(t, http.StatusNotFound, "")
	if flags := unknown.Header.Get("X-Envoy-Response-Flags"); flags != "NR" {
		t.Errorf("response flags %q, want NR", flags)
	}
	b.push(routes(t, append(hosts, vhost("any", "*", to(prefix("/"), "exact")))...))
	b.get("http://unknown.test/").want(t, 200, "exact")
}

func TestTheFirstMatchingRouteWins(t *testing.T) {
	b := start(t, Options{})
	regex := func(s string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: s} }
	header := func(path string, h ...*routev3.HeaderMatcher) *routev3.RouteMatch {
		m := prefix(path)
		m.Headers = h
		return m
	}
	text := func(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
	}
	inverted := text("x-not", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "no"}})
	inverted.InvertMatch = true
	folded := prefix("/fold")
	folded.CaseSensitive = wrapperspb.Bool(false)
	matches := []struct {
		name  string
		match *routev3.RouteMatch
	}{
		{"exact", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/exact"}}},
		{"regex", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: regex(`/item/\d+`)}}},
		{"separated", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/sep"}}},
		{"fold", folded},
		{"h-exact",
			header("/h",
				text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "one"}, IgnoreCase: true}))},
		{"h-prefix", header("/h", text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "two"}}))},
		{"h-suffix", header("/h", text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "three"}}))},
		{"h-contains",
			header("/h", text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "fo"}}))},
		{"h-regex",
			header("/h",
				text("x-a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex("v[0-9]")}}))},
		{"h-present",
			header("/h",
				&routev3.HeaderMatcher{Name: "x-here", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}})},
		{"h-absent",
			header("/absent",
				&routev3.HeaderMatcher{Name: "x-here", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: false}})},
		{"h-inverted", header("/h", inverted)},
		{"h-method", header("/h", text(":method", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "GET"}}))},
	}
	addr := upstream(t, echo)
	set := one(plain(t))
	vh := vhost("h", "*")
	for _, m := range matches {
		set = append(set, backend(t, m.name, addr)...)
		r := to(m.match, m.name)
		r.ResponseHeadersToAdd = headers("x-route", m.name)
		vh.Routes = append(vh.Routes, r)
	}
	b.push(append(set, routes(t, vh))...)
	for _, c := range []struct {
		path, header, value, want string
	}{
		{"/exact", "", "", "exact"}, {"/exact?q=1", "", "", "exact"}, {"/exact/", "", "", ""}, {"/item/12", "", "", "regex"},
		{"/item/12x", "", "", ""},
		{"/sep", "", "", "separated"}, {"/sep/x", "", "", "separated"}, {"/separate", "", "", ""}, {"/FoLd/x", "", "", "fold"},
		{"/h", "x-a", "ONE", "h-exact"}, {"/h", "x-a", "two-b", "h-prefix"}, {"/h", "x-a", "b-three", "h-suffix"},
		{"/h", "x-a", "info", "h-contains"},
		{"/h", "x-a", "v1", "h-regex"}, {"/h", "x-here", "", "h-present"}, {"/h", "x-not", "yes", "h-inverted"},
		{"/h", "x-not", "no", "h-method"},
		{"/h", "", "", "h-method"}, {"/absent", "", "", "h-absent"}, {"/absent", "x-here", "1", ""}, {"/none", "", "", ""},
	} {
		var pair []string
		if c.header != "" {
			pair = []string{c.header, c.value}
		}
		if got := b.get("http://h"+c.path, pair...); got.Header.Get("x-route") != c.want {
			t.Errorf("%s with %s: %q was taken by route %q (%d), want %q",
				c.path, c.header, c.value, got.Header.Get("x-route"), got.StatusCode, c.want)
		}
	}
}

func TestWeightsSplitRequests(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "blue", upstream(t, says("blue"))), backend(t, "green", upstream(t, says("green"))),
		one(routes(t, vhost("h", "*", to(prefix("/"), "", weights("blue", 70, "green", 30))))))...)
	const n = 10000
	counts := map[string]int{}
	for range n {
		counts[b.get("http://h/").body]++
	}
	if blue := 100 * float64(counts["blue"]) / n; math.Abs(blue-70) > 2 || counts["blue"]+counts["green"] != n {
		t.Errorf("split %v, want 70 to 30 within 2 points", counts)
	}
	b.push(routes(t, vhost("h", "*", to(prefix("/"), "", weights("blue", 0, "green", 10000)))))
	for range 100 {
		b.get("http://h/").want(t, 200, "green")
	}
}

// weights splits between clusters: name, weight, name, weight …
func weights(pairs ...any) func(*routev3.RouteAction) {
	return func(a *routev3.RouteAction) {
		w := &routev3.WeightedCluster{}
		for i := 0; i < len(pairs); i += 2 {
			w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name: pairs[i].(string), Weight: wrapperspb.UInt32(uint32(pairs[i+1].(int))),
			})
		}
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
}

func TestPathsAndHostsAreRewritten(t *testing.T) {
	b := start(t, Options{})
	rewrite := to(prefix("/old/"), "echo", func(a *routev3.RouteAction) {
		a.PrefixRewrite = "/new/"
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "inner.test"}
		a.AppendXForwardedHost = true
	})
	b.push(all(one(plain(t)), backend(t, "echo", upstream(t, echo)), one(routes(t, vhost("h", "*", rewrite, to(prefix("/"), "echo")))))...)
	got := b.get("http://outer.test:99/old/a%2Fb?x=1;y=2").body
	for _, want := range []string{
		"GET /new/a%2Fb?x=1;y=2 HTTP/1.1\n", "Host: inner.test\n", "X-Forwarded-Host: outer.test\n",
		"X-Envoy-Original-Path: /old/a%2Fb?x=1;y=2\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("upstream saw\n%s\nwithout %q", got, want)
		}
	}
	if got := b.get("http://outer.test/a%2Fb/../c?x=%zz").body; !strings.HasPrefix(got,
		"GET /a%2Fb/../c?x=%zz HTTP/1.1\nHost: outer.test\n") {
		t.Errorf("without a rewrite the upstream saw\n%s", got)
	}
}

func TestRedirectsAndDirectResponses(t *testing.T) {
	b := start(t, Options{})
	redirect := &routev3.Route{Match: prefix("/go"), Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
		SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}, PortRedirect: 8443,
		PathRewriteSpecifier: &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: "/went"},
		ResponseCode:         routev3.RedirectAction_PERMANENT_REDIRECT,
	}}}
	direct := &routev3.Route{Match: prefix("/"), Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 418, Body: text("short and stout"),
	}}}
	direct.ResponseHeadersToAdd = headers("x-pot", "tea")
	b.push(plain(t), routes(t, vhost("h", "*", redirect, direct)))
	got := b.get("http://h.test:80/go/there?q=1")
	if got.StatusCode != 308 || got.Header.Get("Location") != "https://h.test:8443/went/there?q=1" {
		t.Errorf("got %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	got = b.get("http://h.test/")
	got.want(t, 418, "short and stout")
	if got.Header.Get("x-pot") != "tea" {
		t.Errorf("headers %v lack the route's", got.Header)
	}
}

func TestAHostMovesBetweenVirtualHosts(t *testing.T) {
	b := start(t, Options{})
	set := all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), backend(t, "b", upstream(t, says("b"))))
	many := func(first, second string) []*routev3.VirtualHost {
		var out []*routev3.VirtualHost
		for i := range 300 {
			out = append(out, vhost(fmt.Sprint("other", i), fmt.Sprintf("o%d.test o%d.test:* *.o%d.test", i, i, i), to(prefix("/"), "a")))
		}
		return append(out, vhost("first", first, to(prefix("/"), "a")), vhost("second", second, to(prefix("/"), "b")))
	}
	b.push(append(set, routes(t, many("x.test y.test", "z.test")...))...)
	b.get("http://y.test/").want(t, 200, "a")
	b.push(routes(t, many("x.test", "z.test y.test")...))
	b.get("http://y.test/").want(t, 200, "b")
	b.get("http://sub.o7.test/").want(t, 200, "a")
	b.push(routes(t, many("x.test", "z.test")[200:]...))
	b.get("http://y.test/").want(t, 404, "")
	b.get("http://o7.test/").want(t, 404, "")
	b.get("http://o207.test/").want(t, 200, "a")
}
