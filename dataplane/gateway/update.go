package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/listener"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/xds/client"
)

// activeListener is a listener by its name: the version that is served, and the one that waits for its routes.
type activeListener struct {
	serving, warming *version
	socket           *listener.Socket // of serving, or of warming while there is none
	next             *listener.Socket // of warming, when its address is another one
	timer            *time.Timer
}

// version is one version of a listener with what it refers to.
type version struct {
	serves  *listener.Version
	chains  []*chain // as in serves.chains
	overdue bool     // its routes are waited for no longer
}

func (v *version) config() *settings.Listener { return v.serves.Config }

// chain is a filter chain with what it refers to.
type chain struct {
	config  *settings.FilterChain
	serves  *listener.Chain
	secrets []*secretSlot
}

// renew has handshakes use the newest certificates, when all have come.
func (c *chain) renew() {
	if c.serves.TLS == nil {
		return
	}
	var certificates []tls.Certificate
	for _, slot := range c.secrets {
		if slot.secret == nil {
			return
		}
		certificates = append(certificates, slot.secret.Certificate)
	}
	c.serves.TLS.Renew(certificates)
}

// missing are the secrets without which a listener cannot serve TLS.
func (v *version) missing() []string {
	var names []string
	for _, c := range v.chains {
		for i, slot := range c.secrets {
			if name := c.config.TLS.Secrets[i]; slot.secret == nil && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// routeSlot is the place of a route configuration, by its name. Listeners and scopes refer to it.
type routeSlot struct {
	current atomic.Pointer[config.Routes] // the newest good version; nil until one has come
	scopes  int                           // how many scopes name it
}

// table is the newest routes; nil until they have come.
func (s *routeSlot) table() *settings.RouteTable {
	if config := s.current.Load(); config != nil {
		return &config.RouteTable
	}
	return nil
}

// prefixStats are the counters of all connection managers of one stat_prefix.
type prefixStats struct {
	requests    proxy.ManagerStats
	connections listener.ConnectionStats
}

func (l *activeListener) sockets() []*listener.Socket {
	if l.next != nil {
		return []*listener.Socket{l.socket, l.next}
	}
	return []*listener.Socket{l.socket}
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
	config, err := config.CompileListener(r.Name, r.Version, r.Body)
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
		if active.warming == l && g.listeners[config.Name] == active && !g.ending.Load() {
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
		g.logger.Warn("a listener takes no connections, as its certificates have not come", "listener", l.config().Name, "secrets", l.missing())
		return
	}
	g.logger.Warn("serving a listener whose routes have not come", "listener", l.config().Name)
	g.activate(active)
}

// bindFor takes the address of the listener's new version, unless it has it already. When it cannot, all stays as it was: the
// version before may still come to be served.
func (g *Gateway) bindFor(active *activeListener, l *settings.Listener) error {
	if active.next != nil && active.warming.config().Address == l.Address {
		return nil
	}
	bound := active.serving
	if bound == nil {
		bound = active.warming
	}
	var s *listener.Socket
	if bound == nil || bound.config().Address != l.Address {
		var err error
		if s, err = g.listen(l); err != nil {
			return err
		}
	}
	if active.next != nil {
		g.sockets.Retire(active.next) // of a version that never came to be served
		active.next = nil
	}
	switch {
	case s == nil:
	case active.serving != nil:
		active.next = s
	case bound == nil:
		active.socket = s
	default:
		g.sockets.Retire(active.socket)
		active.socket = s
	}
	return nil
}

// listen takes an address, and says so.
func (g *Gateway) listen(l *settings.Listener) (*listener.Socket, error) {
	s, err := g.sockets.Bind(l)
	if err != nil {
		err = fmt.Errorf("address: %w", err)
		if g.options.Failed != nil {
			g.options.Failed(l.Name, l.Address, err)
		}
		return nil, err
	}
	g.logger.Info("listening", "listener", l.Name, "address", s.Addr())
	if g.options.Listening != nil {
		g.options.Listening(l.Name, s.Addr())
	}
	return s, nil
}

// connect makes what serves a listener: its managers with their routes and counters, and its filter chains with their certificates.
func (g *Gateway) connect(config *settings.Listener) *version {
	l := &version{serves: &listener.Version{Config: config}}
	for i, f := range config.All() {
		stats := g.stats[f.HTTP.StatPrefix]
		if stats == nil {
			stats = &prefixStats{}
			g.stats[f.HTTP.StatPrefix] = stats
		}
		if i == 0 {
			l.serves.Stats = &stats.connections
		}
		c := &chain{config: f, serves: &listener.Chain{Handler: g.proxy.NewManager(f.HTTP, &stats.requests, g.routesOf(f.HTTP))}}
		g.connectSecrets(c)
		l.chains, l.serves.Chains = append(l.chains, c), append(l.serves.Chains, c.serves)
	}
	return l
}

// routesOf is how requests find the newest routes of a manager. It asks for a route configuration that nobody has named before.
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

// warm tells whether all certificates and all routes of a listener are there.
func (g *Gateway) warm(l *version) bool {
	if len(l.missing()) > 0 {
		return false
	}
	return l.overdue || !slices.ContainsFunc(l.chains, func(c *chain) bool {
		switch m := c.config.HTTP; {
		case m.Fragments > 0:
			return !g.scopes.answered || g.scopes.waits()
		case m.RDS != "":
			return g.routes[m.RDS].table() == nil
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
		g.sockets.Retire(active.socket)
		active.socket, active.next = active.next, nil
	}
	active.socket.Serve(active.warming.serves)
	active.serving, active.warming = active.warming, nil
	g.followScopes() // the version before may have been the last that did
}

func (g *Gateway) removeListener(name string, active *activeListener) {
	delete(g.listeners, name)
	active.stopWarming()
	for _, s := range active.sockets() {
		g.sockets.Retire(s)
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
				named[c.config.HTTP.RDS] = true
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
	next, err := config.CompileRoutes(r.Name, r.Version, r.Body, slot.current.Load())
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
		if c := g.proxy.Clusters.Get(name); c != nil {
			g.removeCluster(c)
			gone = append(gone, g.leaveEndpoints(c, c.Config.Load())...)
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

// linger is how long a removed cluster still serves requests that have been routed to it: their routes may be older than
// its removal, by as long as the scheduler kept them from running.
const linger = 2 * time.Second

// removeCluster lets a cluster linger, and then forgets it unless it has come back.
func (g *Gateway) removeCluster(c *proxy.Cluster) {
	c.Removed.Store(true)
	time.AfterFunc(linger, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if c.Removed.Load() && g.proxy.Clusters.Remove(c) && c.Busy() {
			g.leaving[c] = struct{}{}
		}
	})
}

// setCluster takes a cluster; it returns the name of the endpoint assignment to subscribe to, if that is a new one.
func (g *Gateway) setCluster(r client.Resource) (string, error) {
	config, err := config.CompileCluster(r.Name, r.Version, r.Body)
	if err != nil {
		return "", err
	}
	if other := g.endpoints[config.EDS]; config.EDS != "" && other != nil && other.Name != r.Name {
		return "", fmt.Errorf("eds_cluster_config.service_name: %q is that of cluster %q; each cluster needs its own", config.EDS, other.Name)
	}
	c := g.proxy.Clusters.Get(r.Name)
	if c == nil {
		c = &proxy.Cluster{Name: r.Name}
	}
	old := c.Config.Swap(config)
	if old != nil && old.EDS != config.EDS {
		if gone := g.leaveEndpoints(c, old); len(gone) > 0 {
			g.client.Unsubscribe(resource.EndpointType, gone...)
		}
		c.Endpoints.Store(nil)
	}
	if config.Static != nil {
		c.Assign(proxy.NewAssignment(config.Static, nil))
	}
	c.Removed.Store(false)
	g.proxy.Clusters.Put(c)
	if config.EDS == "" || g.endpoints[config.EDS] == c {
		return "", nil
	}
	g.endpoints[config.EDS] = c
	return config.EDS, nil
}

func (g *Gateway) leaveEndpoints(c *proxy.Cluster, config *settings.Cluster) []string {
	if config.EDS == "" || g.endpoints[config.EDS] != c {
		return nil
	}
	delete(g.endpoints, config.EDS)
	return []string{config.EDS}
}

// setEndpoints takes an endpoint assignment. One that is removed while its cluster is there stays, as in Envoy.
func (g *Gateway) setEndpoints(r client.Resource) error {
	endpoints, err := config.CompileEndpoints(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	c := g.endpoints[r.Name]
	if c == nil {
		return nil
	}
	c.Assign(proxy.NewAssignment(endpoints, c.Endpoints.Load()))
	c.Stats.MembershipChange.Add(1)
	return nil
}
