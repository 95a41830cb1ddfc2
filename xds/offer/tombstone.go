package offer

import (
	"slices"

	"sluice.dev/sluice/xds/resource"
)

// maxTombstones bounds how many removed resources of a role are kept while listeners or routes are candidates.
const maxTombstones = 4096

// tombstones keeps the removed resources of a role as long as a roll back may need them: routes that are rolled back lead to
// clusters that only the newer routes can do without.
type tombstones struct {
	candidates int            // listeners and routes that are candidates
	rolledBack int            // those of them of which content was rolled back
	byType     map[string]int // names that are rolled back now, by type
	removed    []tombstone    // what was removed while there were candidates, oldest first
}

// tombstone is a removed resource.
type tombstone struct {
	*Entry
	key Key
	seq uint64 // the first state without it
}

// needed is whether rolled back listeners and routes may lead to resources of a type. Scopes are never kept: another scope may have
// the key of a removed one.
func (t *tombstones) needed(k *resource.Kind, url string) bool {
	scopes := t.byType[resource.ListenerType] + t.byType[resource.ScopedRouteType]
	if k.Stage == resource.StageMake {
		return scopes+t.byType[resource.RouteType] > 0
	}
	return url == resource.RouteType && scopes > 0
}

// add keeps a removed resource. Whether that is of use is known at the end of the update: see clearUnneeded.
func (t *tombstones) add(from *table, removed *Entry, seq uint64) {
	if from.Type == resource.ListenerType || from.kind.Whole {
		return
	}
	if len(t.removed) >= maxTombstones {
		t.removed = slices.Delete(t.removed, 0, maxTombstones/2)
	}
	t.removed = append(t.removed, tombstone{removed, from.Key, seq})
}

// clearUnneeded drops the tombstones when there is no candidate that could be rolled back.
func (t *tombstones) clearUnneeded() {
	if t.candidates == 0 {
		t.removed = nil
	}
}

// restoreRemoved offers again what was removed after the state that a name is rolled back to, as far as that may need it.
func (s *State) restoreRemoved(t *table, since uint64) {
	if t.kind.Stage != resource.StageRoute {
		return
	}
	role := &s.tombstones[resource.RoleIndex(t.Role)]
	if role.byType == nil {
		role.byType = map[string]int{}
	}
	role.byType[t.Type]++
	for _, stone := range slices.Backward(role.removed) {
		kind, _ := resource.KindOf(stone.Type)
		if stone.seq <= since || !role.needed(kind, stone.Type) {
			continue
		}
		to := s.table(stone.key)
		if to.entries[stone.Name] != nil {
			continue
		}
		to.entries[stone.Name] = stone.Entry
		to.pendingRemoval[stone.Name] = struct{}{}
		s.count++
		s.changed(to, stone.Name, stone.Entry)
	}
}

// dropRestored carries out pending removals that no other roll back of the role holds up.
func (s *State) dropRestored(t *table) {
	if t.kind.Stage != resource.StageRoute {
		return
	}
	role := &s.tombstones[resource.RoleIndex(t.Role)]
	if role.byType[t.Type]--; role.byType[t.Type] == 0 {
		delete(role.byType, t.Type)
	}
	for key, other := range s.tables {
		if key.Role != t.Role || len(other.pendingRemoval) == 0 || role.needed(other.kind, other.Type) {
			continue
		}
		for name := range other.pendingRemoval {
			s.remove(key, name)
		}
	}
}
