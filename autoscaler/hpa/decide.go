package hpa

import (
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// Period is the time between two decisions, as in Kubernetes.
const Period = 15 * time.Second

// Kubernetes' defaults for how fast the count may change.
const (
	// downWindow is the stabilisation window for scaling down where none is given; scaling up has none.
	downWindow = 300 * time.Second
	// Without a window one step goes at most to the double, or to leastLimit.
	leastLimit = 4
	// With a window it goes within policyPeriod at most to the double, or up by policyPods.
	policyPeriod = 15 * time.Second
	policyPods   = 4
)

// State is what Decide remembers of one revision. The zero State is that of a new one.
type State struct {
	recommended []stamped // counts that the figures asked for
	up, down    []stamped // changes of the count
}

// stamped is a count at a time.
type stamped struct {
	at time.Time
	n  int
}

// Decide decides how many replicas a revision should have, of which there are current ones (reconcileAutoscaler of horizontal.go). It takes
// ownership of the State. The proposal has model.UnknownReplicas where the figures do not say: then all that run stay.
func Decide(p *model.HPA, s State, current int, replicas []model.ReplicaUsage, now time.Time) (model.Proposal, State) {
	if s.recommended == nil { // before, nothing is known: for a window the count does not fall below this one
		s.recommended = append(s.recommended, stamped{now, current})
	}
	d := model.Proposal{Signal: string(p.Measures())}
	most := p.Max
	if most <= 0 {
		most = math.MaxInt32
	}
	least := max(1, p.Min)
	switch {
	case current > most:
		d.Replicas, d.Why = most, "max-scale allows no more"
	case current < least:
		d.Replicas, d.Why = least, "min-scale asks for them"
	default:
		d.Replicas, d.Why = count(p, current, replicas, now)
		if d.Replicas == model.UnknownReplicas {
			return d, s
		}
		s.normalize(p, bounds{current, least, most}, &d, now)
	}
	s.changed(current, d.Replicas, now)
	return d, s
}

// bounds are the present count, and the ones that it may have.
type bounds struct{ current, least, most int }

// normalize has the count change no faster than allowed.
func (s *State) normalize(p *model.HPA, b bounds, d *model.Proposal, now time.Time) {
	wanted := d.Replicas
	if p.Window <= 0 {
		d.Replicas = min(max(s.largest(wanted, now), b.least), min(b.most, ceil(max(2*float64(b.current), leastLimit))))
	} else {
		d.Replicas = s.rated(s.stabilized(p.Window, b.current, wanted, now), b, now)
	}
	switch {
	case d.Replicas > wanted:
		d.Why += "; as many were needed within the stabilisation window, or min-scale asks for them"
	case d.Replicas < wanted:
		d.Why += "; one step may not go further, or max-scale allows no more"
	}
}

// largest returns the largest count of the last downWindow, this one included (normalizeDesiredReplicas).
func (s *State) largest(wanted int, now time.Time) int {
	cutoff := now.Add(-downWindow)
	s.recommended = slices.DeleteFunc(s.recommended, func(r stamped) bool { return r.at.Before(cutoff) })
	s.recommended = append(s.recommended, stamped{now, wanted})
	for _, r := range s.recommended {
		wanted = max(wanted, r.n)
	}
	return wanted
}

// stabilized returns the current count, moved into the range of the counts of a window (stabilizeRecommendationWithBehaviors).
func (s *State) stabilized(window time.Duration, current, wanted int, now time.Time) int {
	cutoff := now.Add(-window)
	low, high := wanted, wanted
	for _, r := range s.recommended {
		if r.at.After(cutoff) {
			low, high = min(low, r.n), max(high, r.n)
		}
	}
	s.recommended = slices.DeleteFunc(s.recommended, func(r stamped) bool { return r.at.Before(cutoff) })
	s.recommended = append(s.recommended, stamped{now, wanted})
	return min(max(current, low), high)
}

// rated bounds a count by the scaling policies and the bounds (convertDesiredReplicasWithBehaviorRate). The policy for scaling down allows
// everything.
func (s *State) rated(wanted int, b bounds, now time.Time) int {
	added, removed := within15(s.up, now), within15(s.down, now)
	before := b.current - added + removed // at the beginning of the period
	switch {
	case wanted > b.current:
		limit := max(b.current, before+policyPods, 2*before)
		return min(wanted, b.most, limit)
	case wanted < b.current:
		return max(wanted, b.least)
	}
	return wanted
}

// within15 is by how much the count has changed within the period of the policies.
func within15(changes []stamped, now time.Time) (n int) {
	for _, c := range changes {
		if c.at.After(now.Add(-policyPeriod)) {
			n += c.n
		}
	}
	return n
}

// changed remembers a change of the count.
func (s *State) changed(from, to int, now time.Time) {
	old := func(c stamped) bool { return c.at.Before(now.Add(-policyPeriod)) }
	s.up, s.down = slices.DeleteFunc(s.up, old), slices.DeleteFunc(s.down, old)
	switch {
	case to > from:
		s.up = append(s.up, stamped{now, to - from})
	case to < from:
		s.down = append(s.down, stamped{now, from - to})
	}
}
