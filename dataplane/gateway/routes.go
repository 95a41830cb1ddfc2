package gateway

import (
	"sync/atomic"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/xds/client"
)

// routeSlot holds the newest good version of a route configuration. Listeners and scopes that name it share the slot.
type routeSlot struct {
	current atomic.Pointer[config.Routes] // nil until one has come
	scopes  int                           // how many scopes name it
}

// table is the newest routes; nil until they have come.
func (s *routeSlot) table() *settings.RouteTable {
	if config := s.current.Load(); config != nil {
		return &config.RouteTable
	}
	return nil
}

// routesOf is how requests find the newest routes of a manager. It subscribes to a route configuration that no other names.
func (g *Gateway) routesOf(m *settings.Manager) proxy.RouteSource {
	switch {
	case m.Fragments > 0:
		return g.scopes.tables.source(m.Fragments)
	case m.RDS == "":
		return func(string) *settings.RouteTable { return m.Inline }
	}
	slot := g.routes[m.RDS]
	if slot == nil {
		slot = &routeSlot{}
		g.routes[m.RDS] = slot
		g.client.Subscribe(resource.RouteType, m.RDS)
	}
	return func(string) *settings.RouteTable { return slot.table() }
}

// forgetRoutes unsubscribes from route configurations that no listener and no scope names any more.
func (g *Gateway) forgetRoutes() {
	named := map[string]bool{}
	for l := range g.versions {
		for _, c := range l.chains {
			named[c.config.HTTP.RDS] = true
		}
	}
	var gone []string
	for name, slot := range g.routes {
		if !named[name] && slot.scopes == 0 {
			delete(g.routes, name)
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		g.client.Unsubscribe(resource.RouteType, gone...)
	}
}

// setRoutes puts a route configuration into force. The gateway keeps one that is removed while a listener or scope names it, as Envoy does.
func (g *Gateway) setRoutes(r client.Resource) error {
	slot := g.routes[r.Name]
	if slot == nil {
		return nil
	}
	next, err := config.CompileRoutes(r.Name, r.Version, r.Body, slot.current.Load())
	if err != nil {
		return err
	}
	slot.current.Store(next)
	return nil
}
