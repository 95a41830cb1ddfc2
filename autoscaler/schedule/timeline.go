package schedule

import "time"

// Timeline keeps the windows around a moment, so that asking about the same time again costs a few comparisons for each entry. It is for
// one goroutine.
type Timeline struct {
	schedule *Schedule
	spans    []span
	since    []time.Time // the moment that the span was computed for
}

// NewTimeline makes a Timeline.
func NewTimeline(s *Schedule) *Timeline {
	return &Timeline{schedule: s, spans: make([]span, len(s.entries)), since: make([]time.Time, len(s.entries))}
}

// At returns the bounds at a moment. A window's minimum counts from observed before it opens, which is how long replicas take to start, or
// from the lead of the schedule, if that was given. Its maximum counts from when it opens.
func (t *Timeline) At(now time.Time, observed time.Duration) (b Bounds) {
	lead := min(max(0, observed), MaxLead)
	if t.schedule.lead != nil {
		lead = *t.schedule.lead
	}
	for i := range t.spans {
		at := t.span(i, now)
		if at.from.IsZero() {
			continue
		}
		early := at.from.Add(-lead)
		switch {
		case !now.Before(at.from):
			b.add(t.schedule.window(i, at), true)
			b.changeAt(at.to)
		case !now.Before(early) && t.schedule.entries[i].min > 0:
			b.add(t.schedule.window(i, at), false)
			b.changeAt(at.from)
		case t.schedule.entries[i].min > 0:
			b.changeAt(early)
		default:
			b.changeAt(at.from)
		}
	}
	return b
}

// span returns the span of an entry that a moment is in, else the next one.
func (t *Timeline) span(i int, now time.Time) span {
	if since := t.since[i]; since.IsZero() || now.Before(since) || t.spans[i].over(now) {
		t.spans[i], t.since[i] = t.schedule.entries[i].at(now), now
	}
	return t.spans[i]
}
