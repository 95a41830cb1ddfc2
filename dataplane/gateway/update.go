package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/xds/client"
)

// activeListener is a listener by its name: the version that is served, and the one that waits for its routes.
type activeListener struct {
	serving, warming *version
	socket           *socket // of serving, or of warming while there is none
	next             *socket // of warming, when its address is another one
	timer            *time.Timer
}

// version is one version of a listener with what it refers to.
type version struct {
	serves  *listenerVersion
	chains  []*chain // as in serves.chains
	overdue bool     // its routes are waited for no longer
}

func (v *version) config() *listener { return v.serves.config }

// chain is a filter chain with what it refers to.
type chain struct {
	config  *filterChain
	serves  *servedChain
	secrets []*secretSlot
}

// renew has handshakes use the newest certificates, when all have come.
func (c *chain) renew() {
	if c.serves.tls == nil {
		return
	}
	var certificates []tls.Certificate
	for _, slot := range c.secrets {
		if slot.secret == nil {
			return
		}
		certificates = append(certificates, slot.secret.certificate)
	}
	c.serves.tls.renew(certificates)
}

// missing are the secrets without which a listener cannot serve TLS.
func (v *version) missing() []string {
	var names []string
	for _, c := range v.chains {
		for i, slot := range c.secrets {
			if name := c.config.tls.secrets[i]; slot.secret == nil && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// routeSlot is the place of a route configuration, by its name. Listeners and scopes refer to it.
type routeSlot struct {
	current atomic.Pointer[routeConfig] // the newest good version; nil until one has come
	scopes  int                         // how many scopes name it
}

// table is the newest routes; nil until they have come.
func (s *routeSlot) table() *routeTable {
	if config := s.current.Load(); config != nil {
		return &config.routeTable
	}
	return nil
}

// prefixStats are the counters of all connection managers of one stat_prefix.
type prefixStats struct {
	requests    managerStats
	connections connectionStats
}

func (l *activeListener) sockets() []*socket {
	if l.next != nil {
		return []*socket{l.socket, l.next}
	}
	return []*socket{l.socket}
}

func (l *activeListener) stopWarming() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// handle applies a response of the control plane. Good resources take effect even when others of the same response do not;
// the error names all that were refused.
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

// each applies resources one by one and collects what is wrong with them.
func each(set []client.Resource, kind string, apply func(client.Resource) error) error {
	var errs []error
	for _, r := range set {
		if err := apply(r); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, r.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (g *Gateway) setListeners(u client.Update) error {
	g.answered = true
	for _, name := range u.Removed {
		delete(g.refused, name)
		if l := g.listeners[name]; l != nil {
			g.removeListener(name, l)
		}
	}
	err := each(u.Set, "listener", func(r client.Resource) error {
		err := g.setListener(r)
		if delete(g.refused, r.Name); err != nil && g.listeners[r.Name] == nil {
			g.refused[r.Name] = true
		}
		return err
	})
	g.forgetRoutes()
	g.forgetSecrets()
	g.followScopes()
	return err
}

func (g *Gateway) setListener(r client.Resource) error {
	config, err := compileListener(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	active := g.listeners[r.Name]
	if active == nil {
		active = &activeListener{}
	}
	if err := g.bindFor(active, config); err != nil {
		return err // the control plane sends it again
	}
	g.listeners[r.Name] = active
	l := g.connect(config)
	active.warming = l
	active.stopWarming()
	if g.warm(l) {
		g.activate(active)
		return nil
	}
	active.timer = time.AfterFunc(warmUp, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if active.warming == l && g.listeners[config.name] == active && !g.ending.Load() {
			g.overdue(active)
		}
	})
	return nil
}

// overdue serves a listener that has waited long enough for its routes, unless it cannot.
func (g *Gateway) overdue(active *activeListener) {
	l := active.warming
	l.overdue = true
	if !g.warm(l) {
		g.logger.Warn("a listener takes no connections, as its certificates have not come", "listener", l.config().name, "secrets", l.missing())
		return
	}
	g.logger.Warn("serving a listener whose routes have not come", "listener", l.config().name)
	g.activate(active)
}

// bindFor takes the address of the listener's new version, unless it has it already. When it cannot, all stays as it was: the
// version before may still come to be served.
func (g *Gateway) bindFor(active *activeListener, l *listener) error {
	if active.next != nil && active.warming.config().address == l.address {
		return nil
	}
	bound := active.serving
	if bound == nil {
		bound = active.warming
	}
	var s *socket
	if bound == nil || bound.config().address != l.address {
		var err error
		if s, err = g.listen(l); err != nil {
			return err
		}
	}
	if active.next != nil {
		g.sockets.retire(active.next) // of a version that never came to be served
		active.next = nil
	}
	switch {
	case s == nil:
	case active.serving != nil:
		active.next = s
	case bound == nil:
		active.socket = s
	default:
		g.sockets.retire(active.socket)
		active.socket = s
	}
	return nil
}

// listen takes an address, and says so.
func (g *Gateway) listen(l *listener) (*socket, error) {
	s, err := g.sockets.bind(l)
	if err != nil {
		err = at("address", err)
		if g.options.Failed != nil {
			g.options.Failed(l.name, l.address, err)
		}
		return nil, err
	}
	g.logger.Info("listening", "listener", l.name, "address", s.addr())
	if g.options.Listening != nil {
		g.options.Listening(l.name, s.addr())
	}
	return s, nil
}

// connect makes what serves a listener: its managers with their routes and counters, and its filter chains with their certificates.
func (g *Gateway) connect(config *listener) *version {
	l := &version{serves: &listenerVersion{config: config}}
	for i, f := range config.all() {
		stats := g.stats[f.http.statPrefix]
		if stats == nil {
			stats = &prefixStats{}
			g.stats[f.http.statPrefix] = stats
		}
		if i == 0 {
			l.serves.stats = &stats.connections
		}
		c := &chain{config: f, serves: &servedChain{handler: g.proxy.newManager(f.http, &stats.requests, g.routesOf(f.http))}}
		g.connectSecrets(c)
		l.chains, l.serves.chains = append(l.chains, c), append(l.serves.chains, c.serves)
	}
	return l
}

// routesOf is how requests find the newest routes of a manager. It asks for a route configuration that nobody has named before.
func (g *Gateway) routesOf(m *manager) routeSource {
	switch {
	case m.fragments > 0:
		return g.scopes.tables.source(m.fragments)
	case m.rds == "":
		return func(string) *routeTable { return m.inline }
	}
	slot := g.routes[m.rds]
	if slot == nil {
		slot = &routeSlot{}
		g.routes[m.rds] = slot
		g.client.Subscribe(resource.RouteType, m.rds)
	}
	return func(string) *routeTable { return slot.table() }
}

// warm tells whether all certificates and all routes of a listener are there.
func (g *Gateway) warm(l *version) bool {
	if len(l.missing()) > 0 {
		return false
	}
	return l.overdue || !slices.ContainsFunc(l.chains, func(c *chain) bool {
		switch m := c.config.http; {
		case m.fragments > 0:
			return !g.scopes.answered || g.scopes.waits()
		case m.rds != "":
			return g.routes[m.rds].table() == nil
		}
		return false
	})
}

// activateWarm serves the listeners that have everything now.
func (g *Gateway) activateWarm() {
	for _, active := range g.listeners {
		if active.warming != nil && g.warm(active.warming) {
			g.activate(active)
		}
	}
}

// activate serves the version that was warming.
func (g *Gateway) activate(active *activeListener) {
	active.stopWarming()
	if active.next != nil {
		g.sockets.retire(active.socket)
		active.socket, active.next = active.next, nil
	}
	active.socket.serve(active.warming.serves)
	active.serving, active.warming = active.warming, nil
	g.followScopes() // the version before may have been the last that did
}

func (g *Gateway) removeListener(name string, active *activeListener) {
	delete(g.listeners, name)
	active.stopWarming()
	for _, s := range active.sockets() {
		g.sockets.retire(s)
	}
	g.logger.Info("listener removed", "listener", name)
}

// forgetRoutes lets go of route configurations that no listener and no scope names any more.
func (g *Gateway) forgetRoutes() {
	named := map[string]bool{}
	for _, active := range g.listeners {
		for _, l := range []*version{active.serving, active.warming} {
			if l == nil {
				continue
			}
			for _, c := range l.chains {
				named[c.config.http.rds] = true
			}
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

// setRoutes takes a route configuration. One that is removed while it is named stays, as in Envoy.
func (g *Gateway) setRoutes(r client.Resource) error {
	slot := g.routes[r.Name]
	if slot == nil {
		return nil
	}
	next, err := compileRoutes(r.Name, r.Version, r.Body, slot.current.Load())
	if err != nil {
		return err
	}
	slot.current.Store(next)
	return nil
}

func (g *Gateway) setClusters(u client.Update) error {
	var wanted []string
	err := each(u.Set, "cluster", func(r client.Resource) error {
		eds, err := g.setCluster(r)
		if eds != "" {
			wanted = append(wanted, eds)
		}
		return err
	})
	var gone []string
	for _, name := range u.Removed {
		if c := g.proxy.clusters.get(name); c != nil {
			g.removeCluster(c)
			gone = append(gone, g.leaveEndpoints(c, c.config.Load())...)
		}
	}
	if len(gone) > 0 {
		g.client.Unsubscribe(resource.EndpointType, gone...)
	}
	if len(wanted) > 0 {
		g.client.Subscribe(resource.EndpointType, wanted...)
	}
	return err
}

// removeCluster lets a cluster linger, and then forgets it unless it has come back.
func (g *Gateway) removeCluster(c *cluster) {
	c.removed.Store(true)
	time.AfterFunc(linger, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if c.removed.Load() && g.proxy.clusters.remove(c) && c.busy() {
			g.leaving[c] = struct{}{}
		}
	})
}

// setCluster takes a cluster; it returns the name of the endpoint assignment to subscribe to, if that is a new one.
func (g *Gateway) setCluster(r client.Resource) (string, error) {
	config, err := compileCluster(r.Name, r.Version, r.Body)
	if err != nil {
		return "", err
	}
	if other := g.endpoints[config.eds]; config.eds != "" && other != nil && other.name != r.Name {
		return "", fmt.Errorf("eds_cluster_config.service_name: %q is that of cluster %q; each cluster needs its own", config.eds, other.name)
	}
	c := g.proxy.clusters.get(r.Name)
	if c == nil {
		c = &cluster{name: r.Name}
	}
	old := c.config.Swap(config)
	if old != nil && old.eds != config.eds {
		if gone := g.leaveEndpoints(c, old); len(gone) > 0 {
			g.client.Unsubscribe(resource.EndpointType, gone...)
		}
		c.endpoints.Store(nil)
	}
	if config.static != nil {
		c.assign(newAssignment(config.static, nil))
	}
	c.removed.Store(false)
	g.proxy.clusters.put(c)
	if config.eds == "" || g.endpoints[config.eds] == c {
		return "", nil
	}
	g.endpoints[config.eds] = c
	return config.eds, nil
}

func (g *Gateway) leaveEndpoints(c *cluster, config *clusterConfig) []string {
	if config.eds == "" || g.endpoints[config.eds] != c {
		return nil
	}
	delete(g.endpoints, config.eds)
	return []string{config.eds}
}

// setEndpoints takes an endpoint assignment. One that is removed while its cluster is there stays, as in Envoy.
func (g *Gateway) setEndpoints(r client.Resource) error {
	endpoints, err := compileEndpoints(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	c := g.endpoints[r.Name]
	if c == nil {
		return nil
	}
	c.assign(newAssignment(endpoints, c.endpoints.Load()))
	c.stats.membershipChange.Add(1)
	return nil
}
