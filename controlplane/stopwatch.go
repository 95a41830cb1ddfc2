package controlplane

import (
	"sync"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// maxRunning bounds how many changes of each role are timed at once. Further changes are not timed.
const maxRunning = 10_000

// Stopwatch measures the time from the publication of a change until all clients of a role have acknowledged it. It does not time a change
// for a role that gets none of its resources, or of which no client is connected. A change to which no connected client has subscribed
// counts as acknowledged at once.
type Stopwatch struct {
	took func(role uint8, d time.Duration)

	// Guarded by mu.
	mu    sync.Mutex
	roles map[uint8]*laps
}

// laps are the changes of one role that are being timed, in the order of publication.
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
	for _, role := range []uint8{contract.RoleGateway, contract.RoleActivator, contract.RoleMesh} {
		s.roles[role] = &laps{}
	}
	return s
}

// Published begins to time a change: the state seq, which was published at a moment. Its acknowledgement may have been reported
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
