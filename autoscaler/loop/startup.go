package loop

import (
	"slices"
	"time"

	"sluice.dev/sluice/autoscaler/schedule"
)

const (
	// starts is how many of the last starts count.
	starts = 5
	// unknownStart stands for the time of a start before there was one.
	unknownStart = 30 * time.Second
)

// startup observes how long replicas take from the decision that asks for them until as many are ready.
type startup struct {
	goal  int // 0: no start is under way
	since time.Time
	took  []time.Duration // of the last starts, the newest last
}

// asked takes a decision that changes the replicas from one count to another.
func (s *startup) asked(from, to, ready int, now time.Time) {
	switch {
	case to > from && to > ready:
		s.goal, s.since = to, now
	case to < from:
		s.goal = 0 // what is still to start may never be
	}
}

// reached takes how many replicas are ready. It says whether a start has ended.
func (s *startup) reached(ready int, now time.Time) bool {
	if s.goal == 0 || ready < s.goal {
		return false
	}
	if len(s.took) == starts {
		s.took = slices.Delete(s.took, 0, 1)
	}
	s.took = append(s.took, now.Sub(s.since))
	s.goal = 0
	return true
}

// estimate is how long a start is expected to take: what the slowest of the last starts took, with a margin. Of five starts the slowest
// does not count: once, a machine may be slow, or pull an image. The estimate is at most the deadline after which a start has failed.
func (s *startup) estimate(deadline time.Duration) time.Duration {
	most := schedule.MaxLead
	if deadline > 0 {
		most = min(most, deadline)
	}
	if len(s.took) == 0 {
		return min(unknownStart, most)
	}
	sorted := slices.Sorted(slices.Values(s.took))
	slowest := sorted[len(sorted)-1]
	if len(sorted) == starts {
		slowest = sorted[len(sorted)-2]
	}
	return min(schedule.Lead(slowest), most)
}
