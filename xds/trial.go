package xds

import "time"

// maxBackOff bounds how long new content waits after the last refusal of what is called the same.
const maxBackOff = time.Minute

// trial is what is kept of a name from the moment when its content is new until a client of the role acknowledges it. So long
// a refusal takes the role back to the content before. There is no trial where nothing was acknowledged before.
type trial struct {
	prior     *entry    // acknowledged last
	wanted    *entry    // the newest content, while the prior one is offered in its place; else nil
	missing   uint64    // the first state of which content was taken back, until a client acknowledges newer content; else 0
	accused   *entry    // content that a client with standing refuses, while others are still to answer for it
	condemned string    // version that was taken back last
	strikes   int       // how often content was taken back since one was acknowledged
	last      time.Time // when it was
}

// rolledBack is whether the content before is offered in place of the newest.
func (tr *trial) rolledBack() bool { return tr != nil && tr.wanted != nil }

// due is when the newest content may be offered: at once after the first refusal, then after 1 s, 2 s, 4 s, …
func (tr *trial) due() time.Time {
	if tr.strikes < 2 {
		return tr.last
	}
	return tr.last.Add(min(time.Second<<min(tr.strikes-2, 10), maxBackOff))
}

// desired is what a name should be, whether it is offered or not.
func (t *table) desired(name string) *entry {
	if tr := t.trials[name]; tr.rolledBack() {
		return tr.wanted
	}
	return t.entries[name]
}

// same is whether two entries of one name have the same content.
func same(a, b *entry) bool { return a == b || a != nil && b != nil && a.Version == b.Version }

// ackedBy is whether a client of the role has acknowledged the content. It needs no lock.
func (e *entry) ackedBy(role uint8) bool { return e.acked.Load()&uint32(role) != 0 }

func (e *entry) ack(role uint8) { e.acked.Or(uint32(role)) }

// renew puts a name's new content in force, on trial if there is content to go back to; mu is held.
func (s *store) renew(t *table, e *entry, now time.Time) {
	tr, old := t.trials[e.Name], t.desired(e.Name)
	switch {
	case same(old, e):
		if old.ackedBy(t.role) {
			e.ack(t.role)
		}
		if tr.rolledBack() {
			tr.wanted = e
		} else {
			t.entries[e.Name] = e
		}
		return
	case tr == nil && old != nil && old.ackedBy(t.role):
		s.begin(t, old)
	case tr != nil && same(tr.prior, e):
		e.ack(t.role)
		s.conclude(t, e.Name)
	case tr.rolledBack():
		tr.wanted = e
		s.offer(t, e.Name, now)
		return
	}
	s.acquit(t, e.Name)
	t.entries[e.Name] = e
	s.changed(t, e.Name, e, now)
}

func (s *store) begin(t *table, prior *entry) {
	t.trials[prior.Name] = &trial{prior: prior}
	if t.kind.stage == stageRoute {
		s.estates[roleIndex(t.role)].trials++
	}
}

// conclude ends a trial; what it had taken back is the caller's to offer. mu is held.
func (s *store) conclude(t *table, name string) {
	tr := t.trials[name]
	if tr == nil {
		return
	}
	s.forward(t, name, tr)
	s.misses(t, tr, 0)
	delete(t.trials, name)
	if t.kind.stage == stageRoute {
		s.estates[roleIndex(t.role)].trials--
	}
}

// forward ends a roll back, and with it the need of what the content before refers to; mu is held.
func (s *store) forward(t *table, name string, tr *trial) {
	delete(s.held, heldKey{t.tableKey, name})
	if tr.rolledBack() {
		tr.wanted = nil
		s.noteRefusals()
		s.unspare(t)
	}
}

// accuse takes note that a client refuses content on trial. The client must have standing, which is to have accepted content of
// that name before, so that one which refuses everything condemns nothing; content that was condemned once needs no such judge
// again. Clients that are still to answer are heard first, for a bounded time: one that has lost its mind must not keep from all
// others what they would take. mu is held.
func (s *store) accuse(t *table, e *entry, standing bool, now time.Time) {
	tr, offered := t.trials[e.Name], t.entries[e.Name]
	if tr == nil || tr.rolledBack() || !same(offered, e) || offered.ackedBy(t.role) {
		return
	}
	accused := same(tr.accused, e)
	if !accused && !standing && tr.condemned != e.Version {
		return
	}
	if t.judged(offered) {
		s.condemn(t, e.Name, now)
		return
	}
	if !accused {
		tr.accused = offered
		s.held[heldKey{t.tableKey, e.Name}] = now.Add(s.wait)
		s.news()
	}
}

// judged is whether every client that wants a name has refused the content; mu is held.
func (t *table) judged(e *entry) bool {
	refuses := func(w *watch) bool { return same(w.refused[e.Name].content, e) }
	for w := range t.all {
		if !refuses(w) {
			return false
		}
	}
	for _, w := range t.named[e.Name] {
		if !refuses(w) {
			return false
		}
	}
	return true
}

// condemn takes content on trial back, for its whole role; mu is held.
func (s *store) condemn(t *table, name string, now time.Time) {
	tr, offered := t.trials[name], t.entries[name]
	s.acquit(t, name)
	tr.wanted, tr.condemned, tr.last = offered, offered.Version, now
	if tr.missing == 0 {
		s.misses(t, tr, offered.seq)
	}
	tr.strikes++
	t.entries[tr.prior.Name] = tr.prior
	s.noteRefusals()
	s.spare(t, tr.prior.seq, now)
	s.changed(t, name, tr.prior, now)
}

// misses sets the first state of which content was taken back; 0 for none. mu is held.
func (s *store) misses(t *table, tr *trial, seq uint64) {
	if t.kind.stage == stageRoute {
		role := &s.estates[roleIndex(t.role)]
		if tr.missing != 0 {
			role.missing--
		}
		if seq != 0 {
			role.missing++
		}
	}
	tr.missing = seq
}

// acquit ends an accusation; mu is held.
func (s *store) acquit(t *table, name string) {
	if tr := t.trials[name]; tr != nil && tr.accused != nil {
		tr.accused = nil
		delete(s.held, heldKey{t.tableKey, name})
	}
}

// join has content that was taken back tried anew after a while, by the same clock, because a client has come that was not
// heard: it begins with the content before, as all others of its role. mu is held.
func (s *store) join(t *table, name string) {
	tr := t.trials[name]
	if !tr.rolledBack() {
		return
	}
	key, due := heldKey{t.tableKey, name}, time.Now().Add(s.wait)
	if later := tr.due(); later.After(due) {
		due = later
	}
	if _, waits := s.held[key]; !waits {
		s.held[key] = due
		s.news()
	}
}

// offer puts the newest content of a name in place of that before, now or when it is due; mu is held.
func (s *store) offer(t *table, name string, now time.Time) {
	tr := t.trials[name]
	if due := tr.due(); due.After(now) {
		s.held[heldKey{t.tableKey, name}] = due
		return
	}
	e := tr.wanted
	s.forward(t, name, tr)
	t.entries[e.Name] = e
	s.changed(t, name, e, now)
}

// acknowledge notes that a client of the role takes the content, which so far none has; mu is held.
func (s *store) acknowledge(key tableKey, e *entry) {
	now := time.Now()
	e.ack(key.role)
	t := s.tables[key]
	if t == nil {
		return
	}
	if offered := t.entries[e.Name]; same(offered, e) {
		offered.ack(key.role)
	}
	tr := t.trials[e.Name]
	if tr == nil || e.seq <= tr.prior.seq {
		return
	}
	if newest := t.desired(e.Name); same(newest, e) {
		back := tr.rolledBack()
		newest.ack(key.role)
		s.conclude(t, e.Name)
		if t.entries[newest.Name] = newest; back {
			s.changed(t, e.Name, newest, now)
		}
		return
	}
	tr.prior, tr.strikes = e, 0
	s.misses(t, tr, 0)
	if tr.rolledBack() {
		s.offer(t, e.Name, now)
	}
}

// heldKey is a name whose newest content waits to be offered again, or to be taken back.
type heldKey struct {
	tableKey
	name string
}

// decide does what is due: it offers content that has waited long enough, and takes back what nobody has acknowledged in time. It
// says how long the next has to wait; at most pause.
func (s *store) decide(now time.Time, pause time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, due := range s.held {
		if left := due.Sub(now); left > 0 {
			pause = min(pause, left)
			continue
		}
		delete(s.held, key)
		t := s.tables[key.tableKey]
		if t == nil {
			continue
		}
		switch tr := t.trials[key.name]; {
		case tr.rolledBack():
			s.offer(t, key.name, now)
		case tr != nil && tr.accused != nil:
			s.condemn(t, key.name, now)
		}
	}
	return pause
}

// inForce is the newest state up to seq of which no listener or route of a role was taken back. What it was in place of is not
// in force, though every client has answered for it. mu is held.
func (s *store) inForce(role uint8, seq uint64) uint64 {
	if s.estates[roleIndex(role)].missing == 0 {
		return seq
	}
	for key, t := range s.tables {
		if key.role != role || t.kind.stage != stageRoute {
			continue
		}
		for _, tr := range t.trials {
			if tr.missing != 0 {
				seq = min(seq, tr.missing-1)
			}
		}
	}
	return seq
}
