package translator

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// scoping says for which listeners each host is a scope of its own, found by SRDS: for none unless it is on, and then for those that exist.
//
// The listener http finds a scope by the host of a request, the listener local by the host twice. Their keys differ, so that nobody reaches
// a cluster-local host through the listener http, although Envoy gives all scopes to both: it has one subscription for all listeners, and
// one copy of a scope.
type scoping struct{ on, http, local bool }

// fragments is how many times the host is in the key of a listener's scopes.
func fragments(listener string) int {
	if listener == listenerLocal {
		return 2
	}
	return 1
}

// add adds the scopes of a Rule, one for each host, and for each listener the routes that they lead to.
func (s scoping) add(v virtualHost, b *resourceBuilder) {
	if s.http {
		v.scopes(listenerHTTP, v.rule.Hosts, b)
	}
	if s.local {
		v.scopes(listenerLocal, v.rule.LocalHosts, b)
	}
}

// scopes adds a ScopedRouteConfiguration for each host, named by the host, and the routes that all of them name.
//
// The scopes name their routes (RDS) and do not contain them: an update of a scope costs Envoy work that grows with the number of all
// scopes, an update of routes does not. The routes have the name of the first host's scope, not of the Route: when all these hosts move to
// another Route, only the routes change. While a scope names routes that have not arrived, Envoy answers 404.
func (v virtualHost) scopes(listener string, hosts []string, b *resourceBuilder) {
	if len(hosts) == 0 {
		return
	}
	routes := scopeName(listener, hosts[0])
	b.add(RouteType, routes, RoleGateway, &routev3.RouteConfiguration{
		Name: routes, VirtualHosts: []*routev3.VirtualHost{v.gateway(listener, []string{"*"})},
		RequestHeadersToRemove: contract.InternalHeaders, TypedPerFilterConfig: withoutLowerCase(),
	})
	for _, host := range hosts {
		b.keep(scope(listener, host, routes))
	}
}

// Field numbers of ScopedRouteConfiguration.
const (
	scopeNameField   = 1
	scopeRoutesField = 2
	scopeKeyField    = 3
)

// scope is the ScopedRouteConfiguration of a host.
func scope(listener, host, routes string) *Resource {
	name := scopeName(listener, host)
	body := appendField(make([]byte, 0, len(name)+len(routes)+3*len(host)+32), scopeNameField, []byte(name))
	body = appendField(body, scopeRoutesField, []byte(routes))
	body = appendField(body, scopeKeyField, scopeKey(host, fragments(listener)))
	return &Resource{Type: ScopedRouteType, Name: name, Version: version(body), Body: body, Roles: RoleGateway}
}

// scopeName is the name of a host's scope, such as "http/hello.default.localhost".
func scopeName(listener, host string) string { return listener + "/" + host }

// scopeKey is the encoding of a ScopedRouteConfiguration.Key with n fragments: `fragments: {string_key: host}`, n times.
func scopeKey(host string, n int) []byte {
	fragment := protowire.AppendTag(nil, 1, protowire.BytesType)
	fragment = protowire.AppendString(fragment, host)
	var key []byte
	for range n {
		key = appendField(key, 1, fragment)
	}
	return key
}

// scopedRoutes is how a listener finds the scope of a request: by its host without the port.
func scopedRoutes(listener string) *hcmv3.HttpConnectionManager_ScopedRoutes {
	host := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{
		Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
			HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
				Name: authority, ElementSeparator: ":",
				ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0},
			},
		},
	}
	return &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: listener,
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{
			Fragments: slices.Repeat([]*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{host}, fragments(listener)),
		},
		RdsConfigSource: ads(),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
	}}
}

const authority = ":authority"

// findLowerCase selects the scope again by the host in lower case. Reading the route's metadata selects it before the host is restored as
// the client wrote it.
const findLowerCase = `function envoy_on_request(request)
  local headers = request:headers()
  local host = headers:get(":authority")
  headers:replace(":authority", string.lower(host))
  request:clearRouteCache()
  request:metadata():get("")
  headers:replace(":authority", host)
end`

// lowerCaseFilter is the name of the filter by which requests with upper-case letters in their host find their scope.
const lowerCaseFilter = "sluice.dev.lower_case"

// lowerCase is a filter for the few requests whose host has upper-case letters: Envoy matches a virtual host's domains without regard to
// case, but not the key of a scope. All routes disable it, so that it runs only for requests that have found none. It is optional: the
// built-in gateway matches without regard to case itself.
func lowerCase() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: lowerCaseFilter, IsOptional: true,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&luav3.Lua{
			DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: findLowerCase}},
			ClearRouteCache:   wrapperspb.Bool(false), // or restoring the host would select once more
		})},
	}
}

// withoutLowerCase disables the filter for the requests that routes match.
func withoutLowerCase() map[string]*anypb.Any {
	return map[string]*anypb.Any{lowerCaseFilter: anyOf(&routev3.FilterConfig{Disabled: true, IsOptional: true})}
}

// isScoped reports whether the routes of a gateway are scopes of their own.
func isScoped(g model.Gateway) bool { return g.Routes == model.Scoped }
