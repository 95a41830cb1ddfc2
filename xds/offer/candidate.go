package offer

import (
	"time"

	"sluice.dev/sluice/xds/resource"
)

// maxBackOff bounds the time from a roll back of a name until its newest content is retried.
const maxBackOff = time.Minute

// candidate is what the state keeps of a name from the moment when its content is new until a client of the role acknowledges it.
// Until then a NACK can roll the role back to the last good content. A name whose content was never acknowledged has no candidate:
// there is nothing to roll back to.
type candidate struct {
	lastGood        *Entry    // the content that was acknowledged last
	waiting         *Entry    // the newest content, while the last good one is offered in its place; else nil
	nacked          *Entry    // the content that a client NACKs, while others have yet to answer for it; else nil
	rolledBackFrom  string    // the version that was rolled back last
	rolledBackSince uint64    // the first state whose content was rolled back, until a client acknowledges newer content; else 0
	rollbacks       int       // how often content was rolled back since a client acknowledged one
	rolledBackAt    time.Time // when it was rolled back last
}

// rolledBack is whether the last good content is offered in place of the newest.
func (c *candidate) rolledBack() bool { return c != nil && c.waiting != nil }

// retryAt is when the newest content may be offered: at once after the first roll back, then after 1 s, 2 s, 4 s, …
func (c *candidate) retryAt() time.Time {
	if c.rollbacks < 2 {
		return c.rolledBackAt
	}
	return c.rolledBackAt.Add(min(time.Second<<min(c.rollbacks-2, 10), maxBackOff))
}

// newest is the newest content of a name, whether it is offered or not.
func (t *table) newest(name string) *Entry {
	if c := t.candidates[name]; c.rolledBack() {
		return c.waiting
	}
	return t.entries[name]
}

// replace makes new content of a name the candidate if there is content to roll back to, and offers it unless it has to wait.
func (s *State) replace(t *table, e *Entry, now time.Time) {
	c, old := t.candidates[e.Name], t.newest(e.Name)
	switch {
	case Same(old, e):
		if old.AckedBy(t.Role) {
			e.ack(t.Role)
		}
		if c.rolledBack() {
			c.waiting = e
		} else {
			t.entries[e.Name] = e
		}
		return
	case c == nil && old != nil && old.AckedBy(t.Role):
		s.startCandidate(t, old)
	case c != nil && Same(c.lastGood, e):
		e.ack(t.Role)
		s.endCandidate(t, e.Name)
	case c.rolledBack():
		c.waiting = e
		s.retry(t, e.Name, now)
		return
	}
	s.clearNacked(t, e.Name)
	t.entries[e.Name] = e
	s.changed(t, e.Name, e)
}

func (s *State) startCandidate(t *table, lastGood *Entry) {
	t.candidates[lastGood.Name] = &candidate{lastGood: lastGood}
	if t.kind.Stage == resource.StageRoute {
		s.tombstones[resource.RoleIndex(t.Role)].candidates++
	}
}

// endCandidate ends the candidacy of a name. The caller offers content that was waiting.
func (s *State) endCandidate(t *table, name string) {
	c := t.candidates[name]
	if c == nil {
		return
	}
	s.endRollback(t, name, c)
	s.setRolledBackSince(t, c, 0)
	delete(t.candidates, name)
	if t.kind.Stage == resource.StageRoute {
		s.tombstones[resource.RoleIndex(t.Role)].candidates--
	}
}

// endRollback ends a roll back, and removes what only the last good content referred to.
func (s *State) endRollback(t *table, name string, c *candidate) {
	delete(s.due, nameKey{t.Key, name})
	if c.rolledBack() {
		c.waiting = nil
		s.noteRejections()
		s.dropRestored(t)
	}
}

// nackCandidate takes note that a client NACKs the candidate. The client must have acknowledged content of the name before, so that
// a client that NACKs everything rolls nothing back. A version that was rolled back once needs no such client again. Clients that
// have yet to answer are waited for, for a bounded time: one broken client must not withhold from the others what they would
// acknowledge.
func (s *State) nackCandidate(t *table, n Nack, now time.Time) {
	name := n.Entry.Name
	c, offered := t.candidates[name], t.entries[name]
	if c == nil || c.rolledBack() || !Same(offered, n.Entry) || offered.AckedBy(t.Role) {
		return
	}
	known := Same(c.nacked, n.Entry)
	if !known && !n.HadAcked && c.rolledBackFrom != n.Entry.Version {
		return
	}
	if n.Unanimous() {
		s.rollBack(t, name, now)
		return
	}
	if !known {
		c.nacked = offered
		s.due[nameKey{t.Key, name}] = now.Add(s.wait)
		s.effects.Notify = true
	}
}

// rollBack offers the last good content in place of the candidate, to the whole role.
func (s *State) rollBack(t *table, name string, now time.Time) {
	c, offered := t.candidates[name], t.entries[name]
	s.clearNacked(t, name)
	c.waiting, c.rolledBackFrom, c.rolledBackAt = offered, offered.Version, now
	if c.rolledBackSince == 0 {
		s.setRolledBackSince(t, c, offered.seq)
	}
	c.rollbacks++
	t.entries[name] = c.lastGood
	s.noteRejections()
	s.restoreRemoved(t, c.lastGood.seq)
	s.changed(t, name, c.lastGood)
}

// setRolledBackSince sets the first state whose content was rolled back; 0 for none.
func (s *State) setRolledBackSince(t *table, c *candidate, seq uint64) {
	if t.kind.Stage == resource.StageRoute {
		role := &s.tombstones[resource.RoleIndex(t.Role)]
		if c.rolledBackSince != 0 {
			role.rolledBack--
		}
		if seq != 0 {
			role.rolledBack++
		}
	}
	c.rolledBackSince = seq
}

// clearNacked forgets that a client NACKs the candidate.
func (s *State) clearNacked(t *table, name string) {
	if c := t.candidates[name]; c != nil && c.nacked != nil {
		c.nacked = nil
		delete(s.due, nameKey{t.Key, name})
	}
}

// Subscribed says that a client that was not there before has subscribed to a name. The client begins with the last good content,
// as all others of its role. Because it has not answered for the newest, the state retries that after a while, and not before its
// back-off has passed.
func (s *State) Subscribed(key Key, name string, now time.Time) {
	if t := s.tables[key]; t != nil {
		s.scheduleRetry(t, name, now)
	}
}

// SubscribedAll is Subscribed for all names of a type.
func (s *State) SubscribedAll(key Key, now time.Time) {
	if t := s.tables[key]; t != nil {
		for name := range t.candidates {
			s.scheduleRetry(t, name, now)
		}
	}
}

func (s *State) scheduleRetry(t *table, name string, now time.Time) {
	c := t.candidates[name]
	if !c.rolledBack() {
		return
	}
	key, at := nameKey{t.Key, name}, now.Add(s.wait)
	if later := c.retryAt(); later.After(at) {
		at = later
	}
	if _, scheduled := s.due[key]; !scheduled {
		s.due[key] = at
		s.effects.Notify = true
	}
}

// retry offers the newest content of a name in place of the last good one, now or after the back-off.
func (s *State) retry(t *table, name string, now time.Time) {
	c := t.candidates[name]
	if at := c.retryAt(); at.After(now) {
		s.due[nameKey{t.Key, name}] = at
		s.effects.Notify = true
		return
	}
	e := c.waiting
	s.endRollback(t, name, c)
	t.entries[name] = e
	s.changed(t, name, e)
}

// Acknowledge says that a client of the role acknowledges content that no client of it has acknowledged before.
func (s *State) Acknowledge(key Key, e *Entry, now time.Time) {
	e.ack(key.Role)
	t := s.tables[key]
	if t == nil {
		return
	}
	if offered := t.entries[e.Name]; Same(offered, e) {
		offered.ack(key.Role)
	}
	c := t.candidates[e.Name]
	if c == nil || e.seq <= c.lastGood.seq {
		return
	}
	if newest := t.newest(e.Name); Same(newest, e) {
		wasRolledBack := c.rolledBack()
		newest.ack(key.Role)
		s.endCandidate(t, e.Name)
		if t.entries[newest.Name] = newest; wasRolledBack {
			s.changed(t, e.Name, newest)
		}
		return
	}
	c.lastGood, c.rollbacks = e, 0
	s.setRolledBackSince(t, c, 0)
	if c.rolledBack() {
		s.retry(t, e.Name, now)
	}
}

// Tick does what is due: it retries content whose back-off has passed, and rolls back NACKed content that no client has
// acknowledged in time. It returns when it wants to be called again; the zero time if nothing is scheduled.
func (s *State) Tick(now time.Time) (next time.Time) {
	for key, at := range s.due {
		if at.After(now) {
			continue
		}
		delete(s.due, key)
		t := s.tables[key.Key]
		if t == nil {
			continue
		}
		switch c := t.candidates[key.name]; {
		case c.rolledBack():
			s.retry(t, key.name, now)
		case c != nil && c.nacked != nil:
			s.rollBack(t, key.name, now)
		}
	}
	for _, at := range s.due {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// InForce is the newest state up to seq of which no listener or route of a role was rolled back. A state that was rolled back is
// not in force, though every client has answered for it.
func (s *State) InForce(role uint8, seq uint64) uint64 {
	if s.tombstones[resource.RoleIndex(role)].rolledBack == 0 {
		return seq
	}
	for key, t := range s.tables {
		if key.Role != role || t.kind.Stage != resource.StageRoute {
			continue
		}
		for _, c := range t.candidates {
			if c.rolledBackSince != 0 {
				seq = min(seq, c.rolledBackSince-1)
			}
		}
	}
	return seq
}
