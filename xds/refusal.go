package xds

import (
	"cmp"
	"slices"
	"time"
)

// maxRefusals is how many refusals are told of one by one.
const maxRefusals = 1000

// refusal is what is known of a name that clients of a role refuse.
type refusal struct {
	version, text, client string // the newest version that is refused, and what the first client said of it
	clients, deaf         int    // deaf of them have accepted nothing at all
}

// count adds a client, or with -1 takes it away again.
func (r *refusal) count(st *stream, n int) {
	r.clients += n
	if st.deaf() {
		r.deaf += n
	}
}

// deaf says that the client has accepted nothing of what it was sent. A stream of one type is not all that its client takes.
func (st *stream) deaf() bool { return !st.accepts && !st.alone }

// listens notes that the client has accepted something.
func (st *stream) listens() {
	if st.accepts {
		return
	}
	s := st.server.store
	s.mu.Lock()
	defer s.mu.Unlock()
	deaf := st.deaf()
	st.accepts = true
	for _, w := range st.watches {
		for _, r := range w.refused {
			if deaf {
				r.record.deaf--
			}
		}
	}
	if deaf {
		s.noteRefusals()
	}
}

// refused is a client's part in a refusal.
type refused struct {
	content *entry
	record  *refusal
	text    string // its own words; empty: those of the record, or like others of the many that it refuses
	at      time.Time
	bind    rebind
}

// refuse records that a client refuses content of a name, in the place of what it refused before; mu is held.
func (s *store) refuse(t *table, w *watch, e *entry, text string) {
	record := t.refusals[e.Name]
	if record == nil {
		record = &refusal{}
		if t.entries[e.Name] != nil { // else it is gone already, and nobody needs to know
			t.refusals[e.Name] = record
			s.refused++
		}
	}
	if record.version != e.Version {
		record.version, record.text, record.client = e.Version, text, w.stream.client
	}
	if was, ok := w.refused[e.Name]; !ok || was.record != record {
		record.count(w.stream, 1)
		if ok {
			was.record.count(w.stream, -1)
		}
	}
	if record.text == text || len(w.refused) >= maxRefusals {
		text = "" // kept once, and not without bound
	}
	w.refused[e.Name] = refused{content: e, record: record, text: text, at: time.Now()}
	s.noteRefusals()
}

// pardon ends a client's refusal of a name. When no other refuses it, what was taken back because of it is tried anew; mu is
// held.
func (s *store) pardon(w *watch, name string) {
	r, ok := w.refused[name]
	if !ok {
		return
	}
	if delete(w.refused, name); len(w.refused) == 0 {
		w.refused = map[string]refused{}
	}
	s.noteRefusals()
	r.record.count(w.stream, -1)
	t := s.tables[tableKey{w.stream.role, w.url}]
	if r.record.clients > 0 || t == nil || t.refusals[name] != r.record {
		return
	}
	s.forgive(t, name)
	s.acquit(t, name)
	if t.trials[name].rolledBack() {
		s.offer(t, name, time.Now())
	}
}

// forgive ends all refusals of a name; mu is held.
func (s *store) forgive(t *table, name string) {
	if t.refusals[name] != nil {
		delete(t.refusals, name)
		s.refused--
		s.noteRefusals()
	}
}

// heals is whether a client that has content now has it in place of what it refused, rather than for the time being; mu is
// held. The client fell back to it, if it had it before.
func (s *store) heals(w *watch, e *entry, fellBack bool) bool {
	t := s.tables[tableKey{w.stream.role, w.url}]
	if t == nil {
		return true
	}
	if newest := t.desired(e.Name); newest == nil || same(newest, e) {
		return true
	}
	fellBack = fellBack || t.trials[e.Name].rolledBack() && same(t.entries[e.Name], e)
	return !fellBack
}

// mend ends a client's refusal of a name if the content that it has now does.
func (st *stream) mend(w *watch, e *entry, fellBack bool) {
	store := st.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	if store.heals(w, e, fellBack) {
		store.pardon(w, e.Name)
	}
}

// absolve ends a client's refusal of a name that is gone.
func (st *stream) absolve(w *watch, name string) {
	if _, ok := w.refused[name]; !ok {
		return
	}
	store := st.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	store.pardon(w, name)
}

// noteRefusals says that what is refused is not what it was; mu is held.
func (s *store) noteRefusals() {
	s.refusalChanges++
	s.news()
}

// refusals is what is refused now, the first in order of role, type and name, unless nothing has changed since seen.
func (s *store) refusals(seen uint64) (found []Refusal, changes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusalChanges == seen {
		return nil, seen
	}
	for key, t := range s.tables {
		for name, r := range t.refusals {
			found = append(found, Refusal{
				Role: key.role, Type: key.url, Name: name, Version: r.version,
				Text: r.text, Client: r.client, Clients: r.clients, Deaf: r.deaf, RolledBack: t.trials[name].rolledBack(),
			})
		}
	}
	slices.SortFunc(found, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return found[:min(len(found), maxRefusals)], s.refusalChanges
}

// lookForRefusals tells what is refused if that is something else than was told last.
func (p *progress) lookForRefusals() {
	found, changes := p.store.refusals(p.refusalChanges)
	if changes == p.refusalChanges {
		return
	}
	p.refusalChanges = changes
	if slices.Equal(found, p.refusals) {
		return
	}
	p.refusals = found
	p.refused(slices.Clone(found))
}
