package translator

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// discovery says which virtual hosts are resources of their own, found by VHDS: none unless it is on, and then those of
// the RouteConfigurations that a listener uses.
type discovery struct{ on, http, local bool }

// add adds a Rule's virtual hosts as resources.
func (d discovery) add(v virtualHost, b *resourceBuilder) {
	if d.http {
		v.discovered(listenerHTTP, v.rule.Hosts, b)
	}
	if d.local {
		v.discovered(listenerLocal, v.rule.LocalHosts, b)
	}
}

// routes are the RouteConfigurations. They say where to ask and never change.
func (d discovery) routes() []*Resource {
	var routes []*Resource
	for _, c := range []struct {
		name string
		used bool
	}{{listenerHTTP, d.http}, {listenerLocal, d.local}} {
		if !c.used {
			continue
		}
		body := mustMarshal(&routev3.RouteConfiguration{
			Name: c.name, Vhds: &routev3.Vhds{ConfigSource: ads()}, IgnorePortInHostMatching: true,
		})
		routes = append(routes, &Resource{Type: RouteType, Name: c.name, Version: version(body), Body: body, Roles: RoleGateway})
	}
	return routes
}

func (v virtualHost) discovered(routeConfig string, hosts []string, b *resourceBuilder) {
	vh := v.gateway(hosts)
	if vh == nil {
		return
	}
	vh.Name = discoveredName(routeConfig, v.name)
	b.add(VirtualHostType, vh.GetName(), RoleGateway, vh)
}

// discoveredName is the name of the resource and of the virtual host in it, such as "http/default:hello" or
// "http/default:hello:blue". Envoy takes what stands before the last slash for the RouteConfiguration, so that the rest
// must have none; and it removes a virtual host by the name of the resource. No name of the API has a colon, nor has a
// host, which is what Envoy asks for on demand in the same place.
func discoveredName(routeConfig, virtualHost string) string {
	return routeConfig + "/" + strings.ReplaceAll(virtualHost, "/", ":")
}
