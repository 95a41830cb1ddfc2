package gateway

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/listener"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/client"
)

// activeListener is a listener: the version that is served, and the one that waits for its routes and certificates. Either may be nil.
type activeListener struct {
	serving, warming *version
	socket           *listener.Socket // of serving, or of warming without it
	next             *listener.Socket // of warming, where its address is not that of serving
	timer            *time.Timer      // ends the wait of warming for its routes
}

// version is one version of a listener with the resources that it names.
type version struct {
	serves  *listener.Version
	chains  []*chain // one for each of serves.Chains
	overdue bool     // it waits for its routes no longer
}

func (v *version) config() *settings.Listener { return v.serves.Config }

// chain is a filter chain with the secrets that it names.
type chain struct {
	config  *settings.FilterChain
	serves  *listener.Chain
	secrets []*secretSlot
}

// renew has handshakes use the newest certificates, once all have come.
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

// missing are the secrets that have not come, without which the listener cannot serve.
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

// prefixStats are the counters of all connection managers of one stat_prefix.
type prefixStats struct {
	requests    proxy.ManagerStats
	connections listener.ConnectionStats
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
	g.followTracing()
	return err
}

// followTracing has spans go where the listeners say. They all say the same, but while a change of them is on its way.
func (g *Gateway) followTracing() {
	var config model.Tracing
	for _, name := range slices.Sorted(maps.Keys(g.listeners)) {
		active := g.listeners[name]
		v := active.warming
		if v == nil {
			v = active.serving
		}
		if v == nil {
			continue
		}
		for _, c := range v.chains {
			if t := c.config.HTTP.Tracing; t.Protocol != "" {
				config = model.Tracing{Protocol: model.TracingProtocol(t.Protocol), Endpoint: t.Endpoint, SamplingRate: t.SamplingRate}
			}
		}
	}
	g.proxy.Tracer.Configure(config)
}

// setListener compiles a listener, takes its address, and serves it once it is warm.
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
		return err // the NACK has the control plane send it again
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

// overdue serves a listener that has waited for its routes for warmUp, unless a certificate is missing.
func (g *Gateway) overdue(active *activeListener) {
	l := active.warming
	l.overdue = true
	if !g.warm(l) {
		g.logger.Warn("a listener takes no connections, as its certificates have not come",
			"listener", l.config().Name, "secrets", l.missing())
		return
	}
	g.logger.Warn("serving a listener whose routes have not come", "listener", l.config().Name)
	g.activate(active)
}

// bindFor takes the address of a new version of the listener, unless the listener has it already. When that fails nothing changes, so the
// version before may still be served.
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
		g.sockets.Retire(active.next) // of a version that was never served
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

// listen takes an address and reports the outcome.
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

// connect links a listener to what it names: routes, secrets and counters.
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

// warm is whether all certificates and all routes of a listener have come.
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

// activateWarm serves the listeners that have become warm.
func (g *Gateway) activateWarm() {
	for _, active := range g.listeners {
		if active.warming != nil && g.warm(active.warming) {
			g.activate(active)
		}
	}
}

// activate serves the warming version.
func (g *Gateway) activate(active *activeListener) {
	active.stopWarming()
	if active.next != nil {
		g.sockets.Retire(active.socket)
		active.socket, active.next = active.next, nil
	}
	active.socket.Serve(active.warming.serves)
	active.serving, active.warming = active.warming, nil
	g.followScopes() // the version before may have been the last with scoped routes
}

func (g *Gateway) removeListener(name string, active *activeListener) {
	delete(g.listeners, name)
	active.stopWarming()
	for _, s := range active.sockets() {
		g.sockets.Retire(s)
	}
	g.logger.Info("listener removed", "listener", name)
}

// versions yields the versions that are served and those that are warming.
func (g *Gateway) versions(yield func(*version) bool) {
	for _, active := range g.listeners {
		for _, l := range []*version{active.serving, active.warming} {
			if l != nil && !yield(l) {
				return
			}
		}
	}
}
