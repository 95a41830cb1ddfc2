package offer

import (
	"time"

	"sluice.dev/sluice/xds/resource"
)

// Key is one type of resource for one role.
type Key struct {
	Role uint8  // one bit
	Type string // type URL
}

// nameKey is one name of a type for one role.
type nameKey struct {
	Key
	name string
}

// Change is what the role is offered under a name from now on.
type Change struct {
	Key
	Name  string
	Entry *Entry // nil: the resource is removed
}

// Effects are what follows from inputs.
type Effects struct {
	// Changes are for the clients that are subscribed to the name. Of several changes of one name the last one counts.
	Changes []Change
	// Notify says that Rejections has changed, or that Tick is due at another time than it said.
	Notify bool
}

// table is the resources of one type for one role.
type table struct {
	Key
	kind           *resource.Kind
	entries        map[string]*Entry     // what is offered
	candidates     map[string]*candidate // names whose newest content no client has acknowledged
	nacks          map[string]*nacks     // names that clients NACK
	pendingRemoval map[string]struct{}   // names that are removed, but that rolled back routes may need
}

// State is what the roles are offered. It is not safe for use by several goroutines at once.
type State struct {
	wait time.Duration // how long clients have to answer

	seq        uint64
	count      int // entries in all tables
	tables     map[Key]*table
	tombstones [resource.RoleCount]tombstones
	due        map[nameKey]time.Time // when a candidate is retried or rolled back
	versions   map[string]string     // by type URL: see resource.Update.Versions; nil outside of tests

	rejectionChanges uint64
	effects          Effects
}

// New is the state before the first update. Clients have the time to answer before a NACK of others counts for all.
func New(wait time.Duration) *State {
	return &State{wait: wait, tables: map[Key]*table{}, due: map[nameKey]time.Time{}}
}

// keptEffects is how many changes the slice of effects may have had to be used again.
const keptEffects = 64

// Ready takes the effects of all inputs since the last call. They are valid until the next input.
func (s *State) Ready() Effects {
	effects := s.effects
	s.effects = Effects{}
	if cap(effects.Changes) <= keptEffects {
		s.effects.Changes = effects.Changes[:0]
	}
	return effects
}

// Seq is the number of the newest state; 0 before the first update.
func (s *State) Seq() uint64 { return s.seq }

// Get is what is offered under a name; nil if there is nothing.
func (s *State) Get(key Key, name string) *Entry {
	if t := s.tables[key]; t != nil {
		return t.entries[name]
	}
	return nil
}

// All is everything that is offered of a type, by name. The caller must not change it, nor keep it beyond the next input.
func (s *State) All(key Key) map[string]*Entry {
	if t := s.tables[key]; t != nil {
		return t.entries
	}
	return nil
}

// Version is what responses of a type carry as their version in place of the hash of what the client has; empty for the hash.
func (s *State) Version(url string) string { return s.versions[url] }

// table finds or makes a table.
func (s *State) table(key Key) *table {
	t := s.tables[key]
	if t == nil {
		k, _ := resource.KindOf(key.Type)
		t = &table{
			Key: key, kind: k,
			entries: map[string]*Entry{}, candidates: map[string]*candidate{}, nacks: map[string]*nacks{},
			pendingRemoval: map[string]struct{}{},
		}
		s.tables[key] = t
	}
	return t
}

// Prepared is an update with its entries computed.
type Prepared struct {
	update  resource.Update
	entries []*Entry
}

// Prepare computes the entries of an update. That takes long and needs no state.
func Prepare(u resource.Update) Prepared {
	entries := make([]*Entry, len(u.Set))
	for i, r := range u.Set {
		entries[i] = NewEntry(r)
	}
	return Prepared{u, entries}
}

// Apply makes the next state and returns its number.
func (s *State) Apply(p Prepared, now time.Time) uint64 {
	s.seq++
	for _, r := range p.update.Removed {
		for role := range resource.EachRole(r.Roles) {
			s.remove(Key{role, r.Type}, r.Name)
		}
	}
	for _, e := range p.entries {
		e.seq, e.at = s.seq, now.UnixNano()
		s.set(e, now)
	}
	for i := range s.tombstones {
		s.tombstones[i].clearUnneeded()
	}
	for url, version := range p.update.Versions {
		if s.versions == nil {
			s.versions = map[string]string{}
		}
		s.versions[url] = version
	}
	return s.seq
}

// set offers an entry to its roles, and removes the one that it replaces from the roles that it no longer has.
func (s *State) set(e *Entry, now time.Time) {
	var replaced *Entry
	for role := range resource.EachRole(e.Roles) {
		t := s.table(Key{role, e.Type})
		if old := t.newest(e.Name); old == nil {
			s.count++
		} else {
			replaced = old
		}
		delete(t.pendingRemoval, e.Name)
		s.replace(t, e, now)
	}
	if replaced == nil {
		return
	}
	for role := range resource.EachRole(replaced.Roles &^ e.Roles) {
		if t := s.tables[Key{role, e.Type}]; t != nil && t.newest(e.Name) == replaced {
			s.remove(t.Key, e.Name)
		}
	}
}

// remove removes a name, unless rolled back routes may need it: then the removal is pending.
func (s *State) remove(key Key, name string) {
	t := s.tables[key]
	if t == nil || t.entries[name] == nil {
		return
	}
	s.dropNacks(t, name)
	tombstones := &s.tombstones[resource.RoleIndex(key.Role)]
	if tombstones.needed(t.kind, t.Type) {
		t.pendingRemoval[name] = struct{}{}
		return
	}
	tombstones.add(t, t.entries[name], s.seq)
	delete(t.entries, name)
	delete(t.pendingRemoval, name)
	s.endCandidate(t, name)
	s.count--
	s.changed(t, name, nil)
	if len(t.entries) == 0 {
		delete(s.tables, key)
	}
}

// changed records what a name is from now on; nil means removed.
func (s *State) changed(t *table, name string, e *Entry) {
	s.effects.Changes = append(s.effects.Changes, Change{t.Key, name, e})
}
