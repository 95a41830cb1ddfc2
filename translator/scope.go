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

// scoping says which hosts are scopes of their own, found by SRDS: none unless it is on, and then those of the listeners
// that there are.
//
// The listener http finds a scope by the host of a request, the listener local by the host twice. So the two have different
// keys and nobody reaches a cluster-local host through the listener http, although Envoy gives all scopes to both: it has one
// subscription for all listeners, and a scope in memory once.
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

// scopes adds a ScopedRouteConfiguration for each host, named by the host, and the routes that all of them lead to.
//
// The scopes name the routes (RDS) and do not hold them: an update of scopes costs Envoy work that grows with the number of all
// scopes, one of routes does not. The routes are named like the scope of the first host, not after the Route, so that where all
// these hosts move to another Route it is the routes that change; of a scope that is led to other routes Envoy answers 404 until
// those have come.
func (v virtualHost) scopes(listener string, hosts []string, b *resourceBuilder) {
	if len(hosts) == 0 {
		return
	}
	routes := scopeName(listener, hosts[0])
	b.add(RouteType, routes, RoleGateway, &routev3.RouteConfiguration{
		Name: routes, VirtualHosts: []*routev3.VirtualHost{v.gateway([]string{"*"})},
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

// scope is the ScopedRouteConfiguration that leads a host to routes.
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

// findLowerCase chooses the scope again by the host in lower case. Reading the route's metadata has it chosen before the host is
// put back as the client wrote it.
const findLowerCase = `function envoy_on_request(request)
  local headers = request:headers()
  local host = headers:get(":authority")
  headers:replace(":authority", string.lower(host))
  request:clearRouteCache()
  request:metadata():get("")
  headers:replace(":authority", host)
end`

// lowerCaseFilter is the name of the filter by which requests for a host in upper case find their scope.
const lowerCaseFilter = "sluice.dev.lower_case"

// lowerCase is a filter for the few requests whose host has upper-case letters: a virtual host's domains are compared without
// regard to case, the key of a scope is not. All routes turn it off, so that only requests that have found none pass it. It is
// optional, for whoever compares without regard to case by itself, as the built-in gateway does.
func lowerCase() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: lowerCaseFilter, IsOptional: true,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&luav3.Lua{
			DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: findLowerCase}},
			ClearRouteCache:   wrapperspb.Bool(false), // or putting the host back would choose once more
		})},
	}
}

// withoutLowerCase turns the filter off for the requests that routes match.
func withoutLowerCase() map[string]*anypb.Any {
	return map[string]*anypb.Any{lowerCaseFilter: anyOf(&routev3.FilterConfig{Disabled: true, IsOptional: true})}
}

// isScoped is whether the routes of a gateway are scopes of their own.
func isScoped(g model.Gateway) bool { return g.Routes == model.Scoped }
