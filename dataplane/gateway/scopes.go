package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/xds/client"
)

// scopes are the scoped routes (SRDS): all there are, as soon as a listener finds its routes by scope. As in Envoy, one
// subscription serves all listeners, and a listener waits for the first response and for the routes that it names.
type scopes struct {
	following, answered bool
	members             map[string]*scope // by the name of the resource
	byKey               map[string]*scope
	tables              *scopeTables
}

// scopeConfig is a compiled ScopedRouteConfiguration. It is immutable.
type scopeConfig struct {
	name, version, key string
	body               []byte
	rds                string       // the name of the route configuration; empty where the scope holds its routes
	inline             *routeConfig // the routes that the scope holds; nil with a name
}

// scope is a scope with the slot of its routes.
type scope struct {
	*scopeConfig
	slot *routeSlot
}

// scopeTables are the routes by the key of their scope: the handler of updates writes, and requests read.
type scopeTables struct{ m sync.Map }

func (t *scopeTables) find(key string) *routeTable {
	if slot, ok := t.m.Load(key); ok {
		return slot.(*routeSlot).table()
	}
	return nil
}

// source finds the routes of a host, with n fragments in a key.
func (t *scopeTables) source(n int) routeSource {
	return func(host string) *routeTable {
		name, _, _ := strings.Cut(host, ":")
		return t.find(scopeKey(name, n))
	}
}

// scopeKey is the key of a host with n fragments.
func scopeKey(host string, n int) string {
	if n == 1 {
		return host
	}
	return strings.Join(slices.Repeat([]string{host}, n), "\n") // no host has a line break
}

// compileScopeKey returns how many fragments the key of a request has. Each must be its host without the port, which here is
// in lower case.
func compileScopeKey(b *hcmv3.ScopedRoutes_ScopeKeyBuilder) (int, error) {
	for i, f := range b.GetFragments() {
		h := f.GetHeaderValueExtractor()
		if h.GetName() != ":authority" || h.GetElementSeparator() != ":" || h.GetIndex() != 0 || h.GetElement() != nil {
			return 0, atIndex("fragments", i, fmt.Errorf("whatever is not the first element of :authority, cut at colons, is %w", errUnsupported))
		}
	}
	return len(b.GetFragments()), nil
}

// compileScoped takes from a manager how the key of a scope is made.
func compileScoped(m *manager, from *hcmv3.ScopedRoutes) (err error) {
	if from.GetScopedRds() == nil {
		return at("scoped_route_configurations_list", errUnsupported)
	}
	if err := at("scoped_rds", at("scoped_rds_config_source", fromADS(from.GetScopedRds().GetScopedRdsConfigSource()))); err != nil {
		return err
	}
	m.fragments, err = compileScopeKey(from.GetScopeKeyBuilder())
	return at("scope_key_builder", err)
}

// followScopes asks for scopes while a listener wants them, and lets go of them when none does.
func (g *Gateway) followScopes() {
	wanted := false
	for _, active := range g.listeners {
		for _, l := range []*version{active.serving, active.warming} {
			wanted = wanted || l != nil && slices.ContainsFunc(l.chains, func(c *chain) bool { return c.config.http.fragments > 0 })
		}
	}
	switch s := &g.scopes; {
	case wanted == s.following:
	case wanted:
		s.following, s.members, s.byKey = true, map[string]*scope{}, map[string]*scope{}
		g.client.Subscribe(resource.ScopedRouteType, client.Wildcard)
	default:
		all := s.members
		*s = scopes{tables: &scopeTables{}}
		g.client.Unsubscribe(resource.ScopedRouteType, client.Wildcard)
		g.leaveRoutes(slices.Collect(maps.Values(all)))
	}
}

// setScopes takes what one response brings.
func (g *Gateway) setScopes(u client.Update) error {
	if !g.scopes.following {
		return nil
	}
	fresh, err := compileScopes(u.Set)
	g.nameRoutes(fresh)
	left, conflicts := g.scopes.change(u.Removed, fresh)
	g.leaveRoutes(left)
	g.scopes.answered = true
	g.activateWarm()
	return errors.Join(err, conflicts)
}

// nameRoutes gives scopes the routes that they name, and asks for those that nobody named before.
func (g *Gateway) nameRoutes(fresh []*scope) {
	var wanted []string
	for _, s := range fresh {
		if s.rds == "" {
			continue
		}
		if g.routes[s.rds] == nil {
			g.routes[s.rds] = &routeSlot{}
			wanted = append(wanted, s.rds)
		}
		s.slot = g.routes[s.rds]
		s.slot.scopes++
	}
	if len(wanted) > 0 {
		g.client.Subscribe(resource.RouteType, wanted...)
	}
}

// leaveRoutes lets go of the routes that nobody but these scopes named.
func (g *Gateway) leaveRoutes(gone []*scope) {
	last := false
	for _, s := range gone {
		if s.rds != "" {
			s.slot.scopes--
			last = last || s.slot.scopes == 0
		}
	}
	if last {
		g.forgetRoutes()
	}
}

// change makes the next version, and returns the scopes that are not in force any more, or did not come to be. Every key that a
// scope leaves is free before any takes one, and no request finds a key without routes that has some before and after. A scope that
// is refused leaves its last good version in force, unless another has its key now.
func (s *scopes) change(removed []string, fresh []*scope) (gone []*scope, err error) {
	var errs []error
	touched := map[string]bool{}
	leave := func(name string) {
		if old := s.members[name]; old != nil && s.byKey[old.key] == old {
			touched[old.key] = true
			delete(s.byKey, old.key)
		}
	}
	take := func(n *scope) error {
		if other := s.byKey[n.key]; other != nil {
			return at("key", fmt.Errorf("is that of scope %q already; each key may be used once", other.name))
		}
		s.byKey[n.key], s.members[n.name], touched[n.key] = n, n, true
		return nil
	}
	for _, name := range removed {
		leave(name)
		if old := s.members[name]; old != nil {
			gone = append(gone, old)
		}
		delete(s.members, name)
	}
	for _, n := range fresh {
		leave(n.name)
	}
	var kept []*scope
	for _, n := range fresh {
		old := s.members[n.name]
		if err := take(n); err != nil {
			errs = append(errs, fmt.Errorf("scope %q: %w", n.name, err))
			gone, kept = append(gone, n), append(kept, old)
		} else if old != nil {
			gone = append(gone, old)
		}
	}
	for _, old := range kept {
		if old != nil {
			_ = take(old) // another may have the key
		}
	}
	s.publish(touched)
	return gone, errors.Join(errs...)
}

// publish shows requests the scopes of the keys that changed.
func (s *scopes) publish(touched map[string]bool) {
	for key := range touched {
		if now := s.byKey[key]; now != nil {
			s.tables.m.Store(key, now.slot)
		} else {
			s.tables.m.Delete(key)
		}
	}
}

// compileScopes decodes what can be decoded.
func compileScopes(set []client.Resource) (fresh []*scope, err error) {
	err = each(set, "scope", func(r client.Resource) error {
		config, err := compileScope(r.Name, r.Version, r.Body)
		if err != nil {
			return err
		}
		s := &scope{scopeConfig: config}
		if config.inline != nil {
			s.slot = &routeSlot{}
			s.slot.current.Store(config.inline)
		}
		fresh = append(fresh, s)
		return nil
	})
	return fresh, err
}

// compileScope decodes one scope, which names its routes or holds them.
func compileScope(name, version string, body []byte) (*scopeConfig, error) {
	m, err := decode(body, &routev3.ScopedRouteConfiguration{})
	if err != nil {
		return nil, err
	}
	if m.GetName() != name {
		return nil, at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	var key []string
	for _, f := range m.GetKey().GetFragments() {
		key = append(key, f.GetStringKey())
	}
	s := &scopeConfig{name: name, version: version, key: strings.Join(key, "\n"), body: body, rds: m.GetRouteConfigurationName()}
	switch {
	case s.rds != "" && m.GetRouteConfiguration() != nil:
		return nil, at("route_configuration", errors.New("is there beside route_configuration_name; want one of them"))
	case s.rds != "":
		return s, nil
	case m.GetRouteConfiguration() == nil:
		return nil, at("route_configuration_name", errors.New("is missing"))
	}
	if body, err = proto.Marshal(m.GetRouteConfiguration()); err != nil {
		return nil, at("route_configuration", err)
	}
	s.inline, err = compileRoutes("", version, body, nil)
	return s, at("route_configuration", err)
}

// waits is whether routes that a scope names have not come.
func (s *scopes) waits() bool {
	for _, m := range s.members {
		if m.slot.table() == nil {
			return true
		}
	}
	return false
}

// sorted are all scopes by name.
func (s *scopes) sorted() []*scope {
	all := make([]*scope, 0, len(s.members))
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		all = append(all, s.members[name])
	}
	return all
}
