package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"sluice.dev/sluice/xds/client"
)

// discovery is the virtual hosts that are resources of their own (VHDS): all there are, as soon as a route configuration says
// that its are. As in Envoy, the first response after asking is the whole, and routes wait for it.
type discovery struct {
	following bool
	answered  bool
	sets      map[string]*hostSet // by the name of the route configuration
}

// hostSet is the virtual hosts of one route configuration.
type hostSet struct {
	members map[string]discovered // by the name of the resource
	hosts   *hostTable
}

// discovered is a virtual host and the message that it was made from.
type discovered struct {
	*virtualHost
	body []byte
}

// of finds or makes the set of a route configuration.
func (d *discovery) of(routes string) *hostSet {
	set := d.sets[routes]
	if set == nil {
		set = &hostSet{members: map[string]discovered{}, hosts: &hostTable{}}
		d.sets[routes] = set
	}
	return set
}

// discover asks for virtual hosts while a route configuration wants them, and lets go of them when none does.
func (g *Gateway) discover() {
	wanted := false
	for _, slot := range g.routes {
		table := slot.table.Load()
		wanted = wanted || slot.waiting != nil || table != nil && table.discovers
	}
	switch {
	case wanted == g.discovery.following:
	case wanted:
		g.discovery = discovery{following: true, sets: map[string]*hostSet{}}
		g.client.Subscribe(resource.VirtualHostType, client.Wildcard)
	default:
		g.discovery = discovery{}
		g.client.Unsubscribe(resource.VirtualHostType, client.Wildcard)
	}
}

// setVirtualHosts takes what one response brings, all of it at once: a domain may move from one virtual host to another.
func (g *Gateway) setVirtualHosts(u client.Update) error {
	if !g.discovery.following {
		return nil
	}
	changes := map[string]*client.Update{}
	of := func(name string) *client.Update {
		routes := routesOf(name)
		if changes[routes] == nil {
			changes[routes] = &client.Update{}
		}
		return changes[routes]
	}
	for _, r := range u.Set {
		c := of(r.Name)
		c.Set = append(c.Set, r)
	}
	for _, name := range u.Removed {
		c := of(name)
		c.Removed = append(c.Removed, name)
	}
	var errs []error
	for _, routes := range slices.Sorted(maps.Keys(changes)) {
		errs = append(errs, g.discovery.of(routes).change(changes[routes]))
	}
	for name, slot := range g.routes {
		table := slot.table.Load()
		switch {
		case slot.waiting != nil:
			table, slot.waiting = slot.waiting, nil
		case table != nil && table.discovers && changes[name] != nil:
			next := *table
			table = &next
		default:
			continue
		}
		g.serveRoutes(slot, table)
	}
	g.discovery.answered = true
	return errors.Join(errs...)
}

// routesOf is the name of the route configuration that a virtual host's resource belongs to.
func routesOf(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}

// change makes the next version of the hosts. Every domain that somebody leaves is free before anybody takes one. A virtual
// host that is refused leaves its last good version in force, but for domains that others have taken meanwhile.
func (s *hostSet) change(c *client.Update) error {
	var errs []error
	edit := editHosts(s.hosts)
	for _, name := range c.Removed {
		s.leave(edit, name)
		delete(s.members, name)
	}
	fresh := make([]discovered, 0, len(c.Set))
	for _, r := range c.Set {
		vh, err := newVirtualHost(r.Body)
		if err == nil && vh.name != r.Name {
			err = at("name", fmt.Errorf("is %q; it must be the name of the resource", vh.name))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("virtual host %q: %w", r.Name, err))
			continue
		}
		fresh = append(fresh, discovered{vh, r.Body})
		s.leave(edit, r.Name)
	}
	var refused []*virtualHost
	for _, d := range fresh {
		err := edit.claim(d.virtualHost)
		if err == nil {
			s.members[d.name] = d
			continue
		}
		errs = append(errs, fmt.Errorf("virtual host %q: %w", d.name, err))
		if old, ok := s.members[d.name]; ok {
			refused = append(refused, old.virtualHost)
		}
	}
	for _, old := range refused {
		for _, domain := range old.domains {
			edit.set(domain, old)
		}
	}
	s.hosts = edit.done()
	return errors.Join(errs...)
}

func (s *hostSet) leave(edit *hostEdit, name string) {
	old, ok := s.members[name]
	if !ok {
		return
	}
	for _, domain := range old.domains {
		edit.remove(domain, old.virtualHost)
	}
}

// claim gives a virtual host its domains: all, or none. The one that has a domain already is named without its route
// configuration, so that the control plane does not take the refusal for one of that, too.
func (e *hostEdit) claim(vh *virtualHost) error {
	for i, domain := range vh.domains {
		other := e.set(domain, vh)
		if other == nil {
			continue
		}
		for _, taken := range vh.domains[:i] {
			e.remove(taken, vh)
		}
		return atIndex("domains", i, fmt.Errorf("%q belongs to virtual host %q already; each domain may be used once",
			domain, strings.TrimPrefix(other.name, routesOf(other.name)+"/")))
	}
	return nil
}

// merged is a route configuration as one message, with the virtual hosts that were discovered for it.
func (d *discovery) merged(t *routeTable) []byte {
	if !t.discovers {
		return t.body
	}
	set := d.of(t.name)
	body := slices.Clone(t.body)
	for _, name := range slices.Sorted(maps.Keys(set.members)) {
		body = protowire.AppendTag(body, virtualHostsField, protowire.BytesType)
		body = protowire.AppendBytes(body, set.members[name].body)
	}
	return body
}
