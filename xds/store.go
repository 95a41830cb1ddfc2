package xds

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// entry is a resource as the store and all clients share it.
type entry struct {
	*Resource
	needs []need        // what a client will ask for once it has it
	hash  uint64        // of name and version; a set's version is the sum of its members' hashes
	seq   uint64        // the state that it came with
	at    int64         // when that was, in Unix nanoseconds; 0: unknown
	acked atomic.Uint32 // roles of which a client has acknowledged it
}

func newEntry(r *Resource) *entry {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(r.Name)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(r.Version)
	return &entry{Resource: r, needs: needsOf(r), hash: d.Sum64()}
}

// claim is a resource that a client says it has.
func claim(url, name, version string) *entry {
	return &entry{Resource: &Resource{Type: url, Name: name, Version: version}}
}

// claimed is whether only the client knows the content.
func (e *entry) claimed() bool { return e.Roles == 0 }

type tableKey struct {
	role uint8 // one bit
	url  string
}

// table is the resources of one type for one role, and who wants them.
type table struct {
	tableKey
	kind     *kind
	entries  map[string]*entry   // what is offered; put and take change it
	all      map[*watch]struct{} // those that want everything
	named    map[string][]*watch // those that want a name
	trials   map[string]*trial
	refusals map[string]*refusal
	spared   map[string]struct{} // gone, but for what is rolled back
}

func (t *table) idle() bool { return len(t.entries)+len(t.all)+len(t.named) == 0 }

// store is the newest state. One mutex guards it, the dirty sets of all watches, how far each stream is behind, and who is
// connected.
type store struct {
	mu      sync.Mutex
	seq     uint64
	count   int
	asked   [2]int // bytes of the names that clients ask for: of gateways and activators, and of all others
	tables  map[tableKey]*table
	given   map[string]string // versions by type URL that stand in place of hashes; nil outside of tests
	streams [roleCount]map[*stream]struct{}
	lagging [roleCount]map[*stream]struct{} // those of them that are behind
	clients [roleCount]clients
	ready   chan struct{} // closed by the first apply

	estates        [roleCount]estate
	wait           time.Duration         // how long clients are waited for
	held           map[heldKey]time.Time // when content that waits is due
	refused        int                   // names that clients refuse, of each role
	refusalChanges uint64
	news           func() // wakes who tells of refusals and offers what is held; it never blocks
}

func newStore(wait time.Duration) *store {
	s := &store{wait: wait, tables: map[tableKey]*table{}, held: map[heldKey]time.Time{}, news: func() {}, ready: make(chan struct{})}
	for i := range s.streams {
		s.streams[i], s.lagging[i] = map[*stream]struct{}{}, map[*stream]struct{}{}
		s.clients[i].nodes = map[*Node]struct{}{}
	}
	return s
}

// table finds or makes a table; mu is held.
func (s *store) table(role uint8, url string) *table {
	key := tableKey{role, url}
	t := s.tables[key]
	if t == nil {
		k, _ := kindOf(url)
		t = &table{
			tableKey: key, kind: k,
			entries: map[string]*entry{}, all: map[*watch]struct{}{}, named: map[string][]*watch{},
			trials: map[string]*trial{}, refusals: map[string]*refusal{}, spared: map[string]struct{}{},
		}
		s.tables[key] = t
	}
	return t
}

// drop lets go of a table that nobody uses, so that clients cannot fill the store with types of their invention; mu is held.
func (s *store) drop(role uint8, url string) {
	if t := s.tables[tableKey{role, url}]; t != nil && t.idle() {
		delete(s.tables, tableKey{role, url})
	}
}

// apply makes the next state and wakes those that it concerns.
func (s *store) apply(u Update) uint64 {
	entries := make([]*entry, len(u.Set))
	for i, r := range u.Set {
		entries[i] = newEntry(r)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	for _, r := range u.Removed {
		for role := range roles(r.Roles) {
			s.remove(role, r, now)
		}
	}
	for _, e := range entries {
		e.seq, e.at = s.seq, now.UnixNano()
		s.set(e, now)
	}
	for i := range s.estates {
		s.estates[i].forget()
	}
	s.name(u.Versions)
	if s.seq == 1 {
		close(s.ready)
	}
	return s.seq
}

// name gives types versions, or takes them away; mu is held.
func (s *store) name(versions map[string]string) {
	for url, version := range versions {
		if s.given == nil {
			s.given = map[string]string{}
		}
		s.given[url] = version
	}
}

// set puts an entry in force for its roles, and takes the one that it replaces away from those that it no longer has.
func (s *store) set(e *entry, now time.Time) {
	var replaced *entry
	for role := range roles(e.Roles) {
		t := s.table(role, e.Type)
		if old := t.desired(e.Name); old == nil {
			s.count++
		} else {
			replaced = old
		}
		delete(t.spared, e.Name)
		s.renew(t, e, now)
	}
	if replaced == nil {
		return
	}
	for role := range roles(replaced.Roles &^ e.Roles) {
		if t := s.tables[tableKey{role, e.Type}]; t != nil && t.desired(e.Name) == replaced {
			s.remove(role, e.Resource, now)
		}
	}
}

func (s *store) remove(role uint8, r *Resource, now time.Time) {
	t := s.tables[tableKey{role, r.Type}]
	if t == nil || t.entries[r.Name] == nil {
		return
	}
	s.forgive(t, r.Name)
	home := &s.estates[roleIndex(role)]
	if home.needs(t.kind, t.url) {
		t.spared[r.Name] = struct{}{}
		return
	}
	home.bury(t, t.entries[r.Name], s.seq)
	delete(t.entries, r.Name)
	delete(t.spared, r.Name)
	s.conclude(t, r.Name)
	s.count--
	s.changed(t, r.Name, nil, now)
	s.drop(role, r.Type)
}

// changed records in every watch that wants the name what it is now; nil means gone.
func (s *store) changed(t *table, name string, e *entry, now time.Time) {
	for w := range t.all {
		s.mark(w, name, e, now)
	}
	for _, w := range t.named[name] {
		s.mark(w, name, e, now)
	}
}

func (s *store) mark(w *watch, name string, e *entry, now time.Time) {
	if len(w.dirty) == 0 {
		w.dirtySince = s.seq
	}
	w.dirty[name] = e
	st := w.stream
	if st.behind == 0 {
		s.lag(st, s.seq, now)
	}
	st.signal()
}

// lag notes the oldest state that a stream has not answered for, 0 for none; mu is held.
func (s *store) lag(st *stream, behind uint64, now time.Time) {
	if st.behind == 0 {
		st.behindSince = now
	}
	if st.behind = behind; behind == 0 {
		delete(s.lagging[roleIndex(st.role)], st)
	} else {
		s.lagging[roleIndex(st.role)][st] = struct{}{}
	}
}

// roles yields the single bits of a set of roles.
func roles(set uint8) func(yield func(uint8) bool) {
	return func(yield func(uint8) bool) {
		for role := RoleGateway; role <= RoleMesh; role <<= 1 {
			if set&role != 0 && !yield(role) {
				return
			}
		}
	}
}

// roleIndex is the place of a role's bit.
func roleIndex(role uint8) int {
	i := 0
	for role > 1 {
		role >>= 1
		i++
	}
	return i
}
