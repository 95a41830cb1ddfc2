package translator

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// meshSuffixes are appended to a host to give the names that gRPC clients subscribe to; see the package comment.
var meshSuffixes = []string{"", ":80"}

// addMesh adds the RouteConfiguration of the Rule, and a Listener for each name of each of its hosts. Activators may subscribe to them too:
// the requests of a proxyless gRPC client have no header that names the revision, only the host.
func (v virtualHost) addMesh(b *resourceBuilder) {
	hosts := slices.Concat(v.rule.Hosts, v.rule.LocalHosts)
	if len(hosts) == 0 {
		return
	}
	b.add(RouteType, v.name, RoleMesh|RoleActivator, v.mesh())
	slices.Sort(hosts)
	api, err := meshListener(v.name)
	if err != nil {
		b.err = err
		return
	}
	for _, h := range slices.Compact(hosts) {
		for _, suffix := range meshSuffixes {
			name := h + suffix
			// name is field 1 of a Listener and comes before the rest, which is the same for every host.
			body := append(appendField(make([]byte, 0, len(name)+len(api)+4), 1, []byte(name)), api...)
			b.keep(&Resource{Type: ListenerType, Name: name, Version: version(body), Body: body, Roles: RoleMesh | RoleActivator})
		}
	}
}

// meshListener is the encoding of a Listener for gRPC clients without its name.
func meshListener(routeConfig string) ([]byte, error) {
	l := &listenerv3.Listener{ApiListener: &listenerv3.ApiListener{ApiListener: anyOf(&hcmv3.HttpConnectionManager{
		StatPrefix:     routeConfig,
		RouteSpecifier: rds(routeConfig),
		HttpFilters:    []*hcmv3.HttpFilter{router()},
	})}}
	if err := validate(l); err != nil {
		return nil, err
	}
	return marshal(l)
}

func rds(name string) *hcmv3.HttpConnectionManager_Rds {
	return &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: name}}
}

func router() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&routerv3.Router{})},
	}
}
