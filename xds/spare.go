package xds

import (
	"slices"
	"time"
)

// maxGraves bounds how many resources of a role that are gone are remembered while listeners or routes are on trial.
const maxGraves = 4096

// estate is what of a role has to outlive its removal: routes that are rolled back lead to clusters that only the routes
// after them can do without.
type estate struct {
	trials  int            // listeners and routes on trial
	missing int            // those of them of which content was taken back
	rolled  map[string]int // how many names are rolled back, by type
	graves  []grave        // what went while any were on trial, in the order of going
}

// grave is a resource that is gone.
type grave struct {
	*entry
	url string
	seq uint64 // the first state without it
}

// needs is whether what is rolled back may lead to resources of a kind. Scopes are not kept for anybody: one that is gone may have
// a key that another has now.
func (e *estate) needs(k *kind, url string) bool {
	if k.stage == stageMake {
		return e.rolled[ListenerType]+e.rolled[ScopedRouteType]+e.rolled[RouteType] > 0
	}
	return url == RouteType && e.rolled[ListenerType]+e.rolled[ScopedRouteType] > 0
}

// bury remembers what is gone. Whether it is of use is known when the update is in force: see forget.
func (e *estate) bury(t *table, gone *entry, seq uint64) {
	if t.url == ListenerType || t.kind.whole {
		return
	}
	if len(e.graves) >= maxGraves {
		e.graves = slices.Delete(e.graves, 0, maxGraves/2)
	}
	e.graves = append(e.graves, grave{gone, t.url, seq})
}

// forget lets go of the graves when nothing on trial can need them.
func (e *estate) forget() {
	if e.trials == 0 {
		e.graves = nil
	}
}

// spare brings back what went after the state that a name is rolled back to, as far as that may need it; mu is held.
func (s *store) spare(t *table, since uint64, now time.Time) {
	if t.kind.stage != stageRoute {
		return
	}
	role := &s.estates[roleIndex(t.role)]
	if role.rolled == nil {
		role.rolled = map[string]int{}
	}
	role.rolled[t.url]++
	for _, g := range slices.Backward(role.graves) {
		to := s.table(t.role, g.url)
		if g.seq <= since || to.entries[g.Name] != nil || !role.needs(to.kind, g.url) {
			s.drop(t.role, g.url)
			continue
		}
		to.entries[g.Name] = g.entry
		to.spared[g.Name] = struct{}{}
		s.count++
		s.changed(to, g.Name, g.entry, now)
	}
}

// unspare lets go of what only a roll back that has ended was in need of; mu is held.
func (s *store) unspare(t *table) {
	if t.kind.stage != stageRoute {
		return
	}
	role := &s.estates[roleIndex(t.role)]
	if role.rolled[t.url]--; role.rolled[t.url] == 0 {
		delete(role.rolled, t.url)
	}
	now := time.Now()
	for key, other := range s.tables {
		if key.role != t.role || len(other.spared) == 0 || role.needs(other.kind, other.url) {
			continue
		}
		for name := range other.spared {
			s.remove(key.role, &Resource{Type: key.url, Name: name}, now)
		}
	}
}
