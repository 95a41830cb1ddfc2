package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/xds/client"
)

// scopes are the scoped routes (SRDS). The gateway subscribes to all of them while a listener finds its routes by scope. As in Envoy, one
// subscription serves all listeners, and a new listener waits for the first response and for the routes that its scopes name.
type scopes struct {
	following bool              // subscribed
	answered  bool              // a response has come
	members   map[string]*scope // by the name of the resource
	byKey     map[string]*scope // in force
	tables    *scopeTables
}

// scope is a scope with its routes.
type scope struct {
	*config.Scope
	slot *routeSlot
}

// scopeTables are the routes by the key of their scope. The handler of updates writes, and requests read without a lock.
type scopeTables struct{ m sync.Map }

func (t *scopeTables) find(key string) *settings.RouteTable {
	if slot, ok := t.m.Load(key); ok {
		return slot.(*routeSlot).table()
	}
	return nil
}

// source finds the routes of a host by a key with n fragments.
func (t *scopeTables) source(n int) proxy.RouteSource {
	return func(host string) *settings.RouteTable {
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

// followScopes subscribes to scopes when the first listener wants them, and unsubscribes when the last one no longer does.
func (g *Gateway) followScopes() {
	wanted := false
	for l := range g.versions {
		wanted = wanted || slices.ContainsFunc(l.chains, func(c *chain) bool { return c.config.HTTP.Fragments > 0 })
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

// setScopes applies one response.
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

// nameRoutes links scopes to the route configurations that they name. It subscribes to those that no other names.
func (g *Gateway) nameRoutes(fresh []*scope) {
	var wanted []string
	for _, s := range fresh {
		if s.RDS == "" {
			continue
		}
		if g.routes[s.RDS] == nil {
			g.routes[s.RDS] = &routeSlot{}
			wanted = append(wanted, s.RDS)
		}
		s.slot = g.routes[s.RDS]
		s.slot.scopes++
	}
	if len(wanted) > 0 {
		g.client.Subscribe(resource.RouteType, wanted...)
	}
}

// leaveRoutes unlinks scopes from their routes, and unsubscribes from those that no other names.
func (g *Gateway) leaveRoutes(gone []*scope) {
	last := false
	for _, s := range gone {
		if s.RDS != "" {
			s.slot.scopes--
			last = last || s.slot.scopes == 0
		}
	}
	if last {
		g.forgetRoutes()
	}
}

// change applies one response: scopes are removed, added and replaced. It returns the versions that are no longer in force, and those that
// it refused because another scope has their key. All scopes of the response give up their old keys before any takes a new one, so two
// may swap keys. Requests see each key change once, from its old routes to its new ones. When a scope is refused, its last good version
// stays in force, unless another scope has taken its key.
func (s *scopes) change(removed []string, fresh []*scope) (gone []*scope, err error) {
	var errs []error
	touched := map[string]bool{}
	leave := func(name string) {
		if old := s.members[name]; old != nil && s.byKey[old.Key] == old {
			touched[old.Key] = true
			delete(s.byKey, old.Key)
		}
	}
	take := func(n *scope) error {
		if other := s.byKey[n.Key]; other != nil {
			return fmt.Errorf("key: is that of scope %q already; each key may be used once", other.Name)
		}
		s.byKey[n.Key], s.members[n.Name], touched[n.Key] = n, n, true
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
		leave(n.Name)
	}
	var kept []*scope
	for _, n := range fresh {
		old := s.members[n.Name]
		if err := take(n); err != nil {
			errs = append(errs, fmt.Errorf("scope %q: %w", n.Name, err))
			gone, kept = append(gone, n), append(kept, old)
		} else if old != nil {
			gone = append(gone, old)
		}
	}
	for _, old := range kept {
		if old != nil {
			_ = take(old) // fails where another scope has the key
		}
	}
	s.publish(touched)
	return gone, errors.Join(errs...)
}

// publish has requests see the keys that changed.
func (s *scopes) publish(touched map[string]bool) {
	for key := range touched {
		if now := s.byKey[key]; now != nil {
			s.tables.m.Store(key, now.slot)
		} else {
			s.tables.m.Delete(key)
		}
	}
}

// compileScopes compiles the scopes of one response; it leaves out those that it refuses.
func compileScopes(set []client.Resource) (fresh []*scope, err error) {
	err = each(set, "scope", func(r client.Resource) error {
		config, err := config.CompileScope(r.Name, r.Version, r.Body)
		if err != nil {
			return err
		}
		s := &scope{Scope: config}
		if config.Inline != nil {
			s.slot = &routeSlot{}
			s.slot.current.Store(config.Inline)
		}
		fresh = append(fresh, s)
		return nil
	})
	return fresh, err
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
