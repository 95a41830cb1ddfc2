package controlplane

import (
	"sync"
	"time"

	"sluice.dev/sluice/xds/resource"
)

// maxRunning bounds how many changes are timed at once, for each role. What comes while as many wait for an answer is not timed.
const maxRunning = 10_000

// Stopwatch measures how long a change takes from its publication until all clients of a role that are waited for have
// acknowledged it. A change that has no resource for a role is none to that role, and neither is one while none of its clients
// is connected. One that no connected client has asked for counts as acknowledged at once.
type Stopwatch struct {
	took func(role uint8, d time.Duration)

	mu    sync.Mutex
	roles map[uint8]*laps
}

// laps are the changes of one role that are under way, in the order of publication.
type laps struct {
	running []lap
	last    resource.Progress
}

type lap struct {
	seq  uint64
	from time.Time
}

// NewStopwatch makes a Stopwatch; took is called for each change and role by whoever calls Published or Progressed.
func NewStopwatch(took func(role uint8, d time.Duration)) *Stopwatch {
	s := &Stopwatch{took: took, roles: map[uint8]*laps{}}
	for _, role := range []uint8{resource.RoleGateway, resource.RoleActivator, resource.RoleMesh} {
		s.roles[role] = &laps{}
	}
	return s
}

// Published begins to time a change: the state seq, which was made known at a moment. Its acknowledgement may have been told
// already.
func (s *Stopwatch) Published(u resource.Update, seq uint64, from time.Time) {
	concerned := uint8(0)
	for _, list := range [][]*resource.Resource{u.Set, u.Removed} {
		for _, r := range list {
			concerned |= r.Roles
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for role, l := range s.roles {
		switch {
		case concerned&role == 0 || l.last.Clients == 0:
		case l.last.Seq >= seq:
			s.took(role, time.Since(from))
		case len(l.running) < maxRunning:
			l.running = append(l.running, lap{seq, from})
		}
	}
}

// Progressed takes how far a role's clients are.
func (s *Stopwatch) Progressed(p resource.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.roles[p.Role]
	if l == nil {
		return
	}
	done := 0
	for ; done < len(l.running) && l.running[done].seq <= p.Seq; done++ {
		if p.Clients > 0 {
			s.took(p.Role, time.Since(l.running[done].from))
		}
	}
	l.running, l.last = l.running[done:], p
	if p.Clients == 0 || len(l.running) == 0 {
		l.running = nil
	}
}
