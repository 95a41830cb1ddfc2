package external

import "time"

// hold returns the largest count of some time, so that a value that goes up and down does not start and end replicas each time. It is what
// the stabilisation window for scaling down is in Kubernetes' HorizontalPodAutoscaler.
type hold struct {
	// steps are counts with the time until which each counts: both counts and times go down and up strictly, so it stays short.
	steps []step
}

type step struct {
	count int
	until time.Time
}

// record adds the count of now and returns the largest one that still counts.
func (h *hold) record(count int, now time.Time, window time.Duration) int {
	for len(h.steps) > 0 && h.steps[len(h.steps)-1].count <= count {
		h.steps = h.steps[:len(h.steps)-1]
	}
	h.steps = append(h.steps, step{count, now.Add(window)})
	for len(h.steps) > 1 && !h.steps[0].until.After(now) {
		h.steps = h.steps[1:]
	}
	return h.steps[0].count
}
