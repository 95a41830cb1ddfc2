package gateway

import (
	"errors"
	"fmt"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/xds/client"
)

// handle applies a response of the control plane. Good resources take effect beside bad ones of the same response. The error is the text of
// the NACK, and names all resources that were refused.
func (g *Gateway) handle(u client.Update) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	switch u.Type {
	case resource.ListenerType:
		err = g.setListeners(u)
	case resource.ClusterType:
		err = g.setClusters(u)
	case resource.SecretType:
		err = each(u.Set, "secret", g.setSecret)
	case resource.RouteType:
		err = each(u.Set, "route configuration", g.setRoutes)
		g.activateWarm()
	case resource.ScopedRouteType:
		err = g.setScopes(u)
	case resource.EndpointType:
		err = each(u.Set, "endpoint assignment", g.setEndpoints)
	}
	g.count(u.Type, err)
	return err
}

func (g *Gateway) count(typeURL string, err error) {
	stats := g.updates[typeURL]
	if stats == nil {
		stats = &typeStats{}
		g.updates[typeURL] = stats
	}
	if err != nil {
		stats.rejected++
		g.logger.Warn("refused an update", "type", typeURL, "error", err)
		return
	}
	stats.ok++
}

// each applies resources one by one and joins their errors.
func each(set []client.Resource, kind string, apply func(client.Resource) error) error {
	var errs []error
	for _, r := range set {
		if err := apply(r); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, r.Name, err))
		}
	}
	return errors.Join(errs...)
}
