package controlplane

import (
	"sync"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// maxRunning bounds how many changes are timed at once, for each role. The Stopwatch does not time further changes until one
// of these is acknowledged.
const maxRunning = 10_000

// Stopwatch measures for each role how long a change takes from its publication until all clients of the role that the
// server waits for have acknowledged it. It does not time a change for a role that has no resource in it, or of which no
// client is connected. A change that no connected client subscribes to counts as acknowledged at once.
type Stopwatch struct {
	took func(role uint8, d time.Duration) // set once

	// Guarded by mu.
	mu    sync.Mutex
	roles map[uint8]*laps // guarded by mu
}

// laps are the changes of one role that clients have still to acknowledge, in the order of publication.
type laps struct {
	running []lap
	last    resource.Progress
}

type lap struct {
	seq  uint64
	from time.Time
}

// NewStopwatch makes a Stopwatch. Published and Progressed call took for each change and role.
func NewStopwatch(took func(role uint8, d time.Duration)) *Stopwatch {
	s := &Stopwatch{took: took, roles: map[uint8]*laps{}}
	for _, role := range []uint8{contract.RoleGateway, contract.RoleActivator, contract.RoleMesh} {
		s.roles[role] = &laps{}
	}
	return s
}

// Published begins to time a change that was published at a moment, and after which the state is seq. Progressed may have
// had its acknowledgement already.
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

// Progressed takes the progress of a role's clients.
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
