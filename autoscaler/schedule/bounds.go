package schedule

import (
	"fmt"
	"time"

	"sluice.dev/sluice/model"
)

// Signal is the name of the signal.
const Signal = "the schedule"

// Bounds are what schedules ask for at a moment. The zero value asks for nothing.
type Bounds struct {
	// Min is the least number of replicas, and Max the largest one; 0 means that no window has such a bound. Max may be less than Min:
	// see Apply.
	Min, Max int
	// MinBy and MaxBy are the windows whose bounds these are. Their Entry is empty where no window has such a bound. MinBy may lie ahead by
	// the lead.
	MinBy, MaxBy Window
	// Change is when the bounds may be others; zero when they stay.
	Change time.Time
}

// add adds an open window, or one that is about to open.
func (b *Bounds) add(w Window, open bool) {
	if w.Min > b.Min || w.Min == 0 && b.MinBy.Entry == "" {
		b.Min, b.MinBy = w.Min, w
	}
	if open && w.Max > 0 && (b.Max == 0 || w.Max < b.Max) {
		b.Max, b.MaxBy = w.Max, w
	}
}

// changeAt notes a moment at which the bounds may change.
func (b *Bounds) changeAt(t time.Time) {
	if !t.IsZero() && (b.Change.IsZero() || t.Before(b.Change)) {
		b.Change = t
	}
}

// With returns these bounds together with those of another schedule: the largest minimum and the smallest maximum.
func (b Bounds) With(o Bounds) Bounds {
	if o.MinBy.Entry != "" {
		min := o.MinBy
		min.Max = 0
		b.add(min, false)
	}
	if o.MaxBy.Entry != "" && (b.Max == 0 || o.Max < b.Max) {
		b.Max, b.MaxBy = o.Max, o.MaxBy
	}
	b.changeAt(o.Change)
	return b
}

// Apply returns the bounds of a policy, min-scale and max-scale, as they are with those of the schedules. A max-scale of 0 means none.
//
// The larger minimum counts, up to max-scale. The smaller maximum counts, but never below the minimum: capacity that was promised is worth
// more than capacity that is saved.
func (b Bounds) Apply(minScale, maxScale int) (least, most int) {
	least, most = max(minScale, b.Min), maxScale
	if most > 0 {
		least = min(least, most)
	}
	if b.Max > 0 && (most == 0 || b.Max < most) {
		most = max(b.Max, least)
	}
	return least, most
}

// MinWhy is a sentence that says why there is a minimum.
func (b Bounds) MinWhy(now time.Time) string { return b.MinBy.why(now) }

// MaxWhy is a sentence that says why there is a maximum.
func (b Bounds) MaxWhy(now time.Time) string { return b.MaxBy.why(now) }

// Floor is the minimum as a signal. Its Signal is empty when there is none, or when it is 0.
func (b Bounds) Floor(now time.Time) model.Proposal {
	if b.Min <= 0 {
		return model.Proposal{}
	}
	return model.Proposal{Signal: Signal, Replicas: b.Min, Why: b.MinWhy(now)}
}

// Ceiling is the maximum as a signal. Its Signal is empty when there is none.
func (b Bounds) Ceiling(now time.Time) model.Proposal {
	if b.Max <= 0 {
		return model.Proposal{}
	}
	return model.Proposal{Signal: Signal, Replicas: b.Max, Why: b.MaxWhy(now)}
}

// margin is added to what was observed, with a quarter of it.
const margin = time.Second

// Lead is how long before a moment replicas are started so that they are ready then, when a start was observed to take so long.
func Lead(start time.Duration) time.Duration { return min(start+start/4+margin, MaxLead) }

// momentForm is how sentences write a moment.
const momentForm = "2006-01-02 15:04 MST"

func (w Window) why(now time.Time) string {
	switch name := fmt.Sprintf("entry %s of %s", w.Entry, w.Schedule); {
	case now.Before(w.From):
		return fmt.Sprintf("%s begins at %s, and replicas must be ready then", name, w.From.Format(momentForm))
	case w.To.IsZero():
		return name
	default:
		return fmt.Sprintf("%s, until %s", name, w.To.Format(momentForm))
	}
}
