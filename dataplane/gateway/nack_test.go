package gateway

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/xds/resource"
)

// broken are broken resources by what is wrong, with what the NACK has to name.
func broken(t testing.TB) map[string]struct {
	resource *resource.Resource
	want     []string
} {
	type c = struct {
		resource *resource.Resource
		want     []string
	}
	manager := func(change func(*hcmv3.HttpConnectionManager)) *resource.Resource { return plain(t, change) }
	listener := func(change func(*listenerv3.Listener)) *resource.Resource {
		l := newListener(t, "http", "127.0.0.1:0", newManager(t, "http"))
		change(l)
		return res(t, gcpresource.ListenerType, "http", l)
	}
	route := func(r *routev3.Route) *resource.Resource { return routes(t, vhost("h", "h.test", r)) }
	match := func(m *routev3.RouteMatch) *resource.Resource { return route(to(m, "c")) }
	with := func(change func(*routev3.RouteAction)) *resource.Resource { return route(to(prefix("/"), "c", change)) }
	header := func(h *routev3.HeaderMatcher) *resource.Resource {
		m := prefix("/")
		m.Headers = []*routev3.HeaderMatcher{h}
		return match(m)
	}
	cluster := func(change func(*clusterv3.Cluster)) *resource.Resource {
		c := newCluster("c")
		change(c)
		return res(t, gcpresource.ClusterType, "c", c)
	}
	assignment := func(change func(*endpointv3.LbEndpoint)) *resource.Resource {
		g := group(0, "z", "127.0.0.1:1")
		change(g.LbEndpoints[0])
		return endpoints(t, "c", g)
	}
	added := func(h ...*corev3.HeaderValueOption) *resource.Resource {
		r := to(prefix("/"), "c")
		r.RequestHeadersToAdd = h
		return route(r)
	}
	return map[string]c{
		"http filter": {manager(func(m *hcmv3.HttpConnectionManager) {
			unknown := &hcmv3.HttpFilter{
				Name: "envoy.filters.http.lua", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &structpb.Struct{})},
			}
			m.HttpFilters = append([]*hcmv3.HttpFilter{unknown}, m.HttpFilters...)
		}), []string{`listener "http"`, "filter_chains[0].filters[0].typed_config.http_filters[0]", "envoy.filters.http.lua",
			"not supported"}},
		"router twice": {manager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = append([]*hcmv3.HttpFilter{{
				Name: "r", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &bufferv3.Router{})},
			}}, m.HttpFilters...)
		}), []string{"http_filters[0]", "last"}},
		"no router": {manager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = nil }), []string{"http_filters", "no router"}},
		"local reply": {manager(func(m *hcmv3.HttpConnectionManager) { m.LocalReplyConfig = &hcmv3.LocalReplyConfig{} }),
			[]string{"local_reply_config", "not supported"}},
		"request timeout": {manager(func(m *hcmv3.HttpConnectionManager) { m.RequestTimeout = durationpb.New(1e9) }),
			[]string{"request_timeout", "not supported"}},
		"network filter": {listener(func(l *listenerv3.Listener) {
			l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, &structpb.Struct{})}
		}), []string{"filter_chains[0].filters[0].typed_config", "google.protobuf.Struct", "HttpConnectionManager"}},
		"no chains": {listener(func(l *listenerv3.Listener) { l.FilterChains = nil }), []string{"filter_chains"}},
		"host name to bind": {listener(func(l *listenerv3.Listener) { l.Address.GetSocketAddress().Address = "example.com" }),
			[]string{"address", "IP address"}},
		"udp": {listener(func(l *listenerv3.Listener) { l.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP }),
			[]string{"address", "UDP"}},
		"pipe": {listener(func(l *listenerv3.Listener) {
			l.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}
		}), []string{"address.pipe", "not supported"}},
		"listener name": {res(t, gcpresource.ListenerType, "http", newListener(t, "else", "127.0.0.1:0", newManager(t, "http"))),
			[]string{"name", `"else"`}},
		"sds from elsewhere": {listener(func(l *listenerv3.Listener) {
			l.FilterChains[0].TransportSocket = tlsSocket(t, &tlsv3.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "s"}},
			})
		}), []string{"common_tls_context.tls_certificate_sds_secret_configs[0].sds_config", "must be ads"}},
		"sds beside a certificate": {listener(func(l *listenerv3.Listener) {
			c := newCertificate(t, "h.test")
			l.FilterChains[0].TransportSocket = tlsSocket(t, &tlsv3.CommonTlsContext{
				TlsCertificates:                []*tlsv3.TlsCertificate{{CertificateChain: text(c.chain), PrivateKey: text(c.key)}},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "s", SdsConfig: ads()}},
			})
		}), []string{"common_tls_context", "not both"}},
		"not a certificate": {listener(func(l *listenerv3.Listener) {
			l.FilterChains[0].TransportSocket = tlsSocket(t, &tlsv3.CommonTlsContext{
				TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: text("x"), PrivateKey: text("SECRET")}},
			})
		}), []string{"tls_certificates[0]", "not a pair"}},
		"query match": {match(&routev3.RouteMatch{PathSpecifier: prefix("/").PathSpecifier,
			QueryParameters: []*routev3.QueryParameterMatcher{{Name: "q"}}}), []string{`route configuration "http"`, `virtual host "h"`, "routes[0].match.query_parameters", "not supported"}},
		"fraction": {match(&routev3.RouteMatch{PathSpecifier: prefix("/").PathSpecifier,
			RuntimeFraction: &corev3.RuntimeFractionalPercent{}}), []string{"runtime_fraction"}},
		"connect": {match(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}), []string{"connect_matcher", "not supported"}},
		"regex":   {match(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "(?=x)"}}}), []string{"match.safe_regex.regex", "(?="}},
		"range match": {header(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{}}),
			[]string{"match.headers[0]"}},
		"cluster header": {with(func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
		}), []string{"route.cluster_header", "not supported"}},
		"mirror": {with(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "c"}}
		}), []string{"route.request_mirror_policies", "not supported"}},
		"regex rewrite": {with(func(a *routev3.RouteAction) {
			a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "a"}}
		}), []string{"regex_rewrite", "not supported"}},
		"retry on 5xx":    {with(retries("connect-failure,5xx", 1)), []string{"retry_policy.retry_on", `"5xx"`, "connect-failure"}},
		"no weights":      {with(weights("a", 0)), []string{"weighted_clusters", "sum"}},
		"too much weight": {with(weights("a", 1<<32-1, "b", 1)), []string{"weighted_clusters"}},
		"per filter config": {route(&routev3.Route{Match: prefix("/"), Action: to(prefix("/"), "c").Action,
			TypedPerFilterConfig: newClusterOptions(t)}), []string{"routes[0].typed_per_filter_config", "not supported"}},
		"command operator": {added(headers("x-peer", "%DOWNSTREAM_REMOTE_ADDRESS%")...),
			[]string{"request_headers_to_add[0].header.value", "command operators"}},
		"host header": {added(headers("Host", "x")...), []string{"request_headers_to_add[0].header.key", "host_rewrite_literal"}},
		"body from a file": {route(&routev3.Route{Match: prefix("/"),
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200,
				Body: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/etc/passwd"}}}}}), []string{"direct_response.body.filename", "not supported"}},
		"duplicate domain": {routes(t, vhost("one", "a.test h.test", to(prefix("/"), "c")),
			vhost("two", "H.test", to(prefix("/"), "c"))), []string{`"h.test"`, `"one"`, `"two"`, "once"}},
		"wildcard in between": {routes(t, vhost("one", "a.*.test", to(prefix("/"), "c"))), []string{"domains[0]", "wildcard"}},
		"vhds": {res(t, gcpresource.RouteType, "http",
			&routev3.RouteConfiguration{Name: "http", Vhds: &routev3.Vhds{ConfigSource: ads()}}), []string{"vhds", "not supported"}},
		"another scope key": {plain(t, byScope(1), func(m *hcmv3.HttpConnectionManager) {
			m.GetScopedRoutes().GetScopeKeyBuilder().GetFragments()[0].GetHeaderValueExtractor().Name = "x-scope"
		}), []string{"scoped_routes.scope_key_builder.fragments[0]", "not supported"}},
		"filter per route": {res(t, gcpresource.RouteType, "http",
			&routev3.RouteConfiguration{Name: "http", TypedPerFilterConfig: map[string]*anypb.Any{
				"x": pack(t, &routev3.FilterConfig{}),
			}}), []string{"typed_per_filter_config.x", "off"}},
		"route name": {res(t, gcpresource.RouteType, "http", &routev3.RouteConfiguration{Name: "else"}), []string{"name", `"else"`}},
		"dns cluster": {cluster(func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		}), []string{`cluster "c"`, "type", "STRICT_DNS"}},
		"ring hash": {cluster(func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_RING_HASH }),
			[]string{"lb_policy", "RING_HASH"}},
		"health checks": {cluster(func(c *clusterv3.Cluster) { c.HealthChecks = []*corev3.HealthCheck{{}} }),
			[]string{"health_checks", "not supported"}},
		"upstream tls": {cluster(func(c *clusterv3.Cluster) { c.TransportSocket = tlsSocket(t, &tlsv3.CommonTlsContext{}) }),
			[]string{"transport_socket", "DownstreamTlsContext"}},
		"eds from elsewhere": {cluster(func(c *clusterv3.Cluster) {
			c.EdsClusterConfig.EdsConfig = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{}}
		}), []string{"eds_cluster_config.eds_config"}},
		"endpoint host name": {assignment(func(e *endpointv3.LbEndpoint) {
			e.GetEndpoint().Address.GetSocketAddress().Address = "example.com"
		}), []string{`endpoint assignment "c"`, "endpoints[0].lb_endpoints[0]", "IP address"}},
		"endpoint without one": {assignment(func(e *endpointv3.LbEndpoint) { e.HostIdentifier = nil }),
			[]string{"endpoints[0].lb_endpoints[0]"}},
		"drop overloads": {res(t, gcpresource.EndpointType, "c",
			&endpointv3.ClusterLoadAssignment{ClusterName: "c",
				Policy: &endpointv3.ClusterLoadAssignment_Policy{DropOverloads: []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{Category: "x"}}}}), []string{"policy.drop_overloads", "not supported"}},
		"garbage listener": {raw(gcpresource.ListenerType, "http", []byte("\xff\xff\xff")),
			[]string{"not a envoy.config.listener.v3.Listener"}},
		"garbage routes": {raw(gcpresource.RouteType, "http", []byte("\x12\xff")), []string{"not a RouteConfiguration"}},
		"garbage virtual host": {raw(gcpresource.RouteType, "http", []byte("\x0a\x04http\x12\x03\xff\xff\xff")),
			[]string{"not a envoy.config.route.v3.VirtualHost"}},
		"garbage cluster": {raw(gcpresource.ClusterType, "c", []byte("\x01")), []string{"not a envoy.config.cluster.v3.Cluster"}},
		"garbage endpoints": {raw(gcpresource.EndpointType, "c", []byte("\x0a\x7f")),
			[]string{"not a envoy.config.endpoint.v3.ClusterLoadAssignment"}},
		"unknown wire field": {raw(gcpresource.ClusterType, "c", []byte("\x0a\x01c\xfa\xff\x03\x01x")), []string{"not in the API"}},
	}
}

func newClusterOptions(t testing.TB) map[string]*anypb.Any {
	return map[string]*anypb.Any{"x": pack(t, &wrapperspb.BoolValue{})}
}

func tlsSocket(t testing.TB, c *tlsv3.CommonTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: pack(t, &tlsv3.DownstreamTlsContext{CommonTlsContext: c}),
	}}
}

func TestAResourceThatIsNotUnderstoodIsRefusedAndTheLastGoodServes(t *testing.T) {
	b := start(t, Options{})
	good := all(one(plain(t)), backend(t, "c", upstream(t, says("good"))), one(routes(t, vhost("h", "h.test", to(prefix("/"), "c")))))
	b.push(good...)
	b.get("http://h.test/").want(t, 200, "good")
	for name, c := range broken(t) {
		t.Run(name, func(t *testing.T) {
			had := b.refusals()
			b.server.Apply(resource.Update{Set: one(c.resource)})
			got := b.refusal(had)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("the NACK says %q; it should name %q", got, want)
				}
			}
			if strings.Contains(got, "SECRET") {
				t.Errorf("the NACK holds a private key: %q", got)
			}
			b.get("http://h.test/").want(t, 200, "good")
			b.push(good...)
			b.get("http://h.test/").want(t, 200, "good")
		})
	}
}

func TestGoodResourcesBesideABadOneTakeEffect(t *testing.T) {
	b := start(t, Options{})
	bad := newCluster("bad")
	bad.LbPolicy = clusterv3.Cluster_MAGLEV
	b.update(resource.Update{Set: all(one(plain(t)), one(res(t, gcpresource.ClusterType, "bad", bad)),
		backend(t, "good", upstream(t, says("good"))),
		one(routes(t, vhost("h", "*", to(prefix("/"), "good")))))})
	if got := b.refusal(0); !strings.Contains(got, `cluster "bad": lb_policy`) || strings.Contains(got, `"good"`) {
		t.Errorf("the NACK says %q", got)
	}
	b.get("http://h/").want(t, 200, "good")
}

// compileAny compiles a body as each kind of resource.
func compileAny(body []byte) {
	_, _ = config.CompileListener("x", "", body)
	_, _ = config.CompileCluster("x", "", body)
	_, _ = config.CompileSecret("x", "", body)
	if table, err := config.CompileRoutes("", "", body, nil); err == nil {
		_, _ = config.CompileRoutes("", "", append([]byte(nil), body...), table)
		table.Hosts.Find("h.test")
	}
	_, _ = config.CompileScope("x", "", body)
	if groups, err := config.CompileEndpoints("x", "", body); err == nil {
		a := proxy.NewAssignment(groups, nil)
		for _, policy := range []settings.Balancing{settings.RoundRobin, settings.LeastRequest, settings.Random} {
			a.Pick(policy, nil, func(*proxy.Host) bool { return false })
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range broken(f) {
		f.Add(c.resource.Body)
	}
	f.Add(secret(f, "x", newCertificate(f, "h.test").chain, "").Body)
	for _, r := range all(one(plain(f)), backend(f, "x", "127.0.0.1:1"), h2cBackend(f, "x"),
		one(routes(f, vhost("h", "h.test *.x y.*", to(prefix("/"), "", weights("a", 1, "b", 2)))))) {
		f.Add(r.Body)
	}
	f.Fuzz(func(_ *testing.T, body []byte) { compileAny(body) })
}
