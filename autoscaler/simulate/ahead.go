package simulate

import (
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/autoscaler/predictive"
	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/model"
)

// ahead is what schedules ask for and what a forecast expects. The history is that of the simulation alone.
type ahead struct {
	timelines      []*schedule.Timeline
	bounds         schedule.Bounds
	floor, ceiling model.Proposal
	planned        bool

	history  forecast.History
	peak     float64 // the greatest load since the last look; less than 0 when it is not known
	expected model.Proposal
	look     time.Time // when to look again
}

const unknownLoad = -1.

func newAhead(schedules []*schedule.Schedule) ahead {
	a := ahead{peak: unknownLoad}
	for _, s := range schedules {
		a.timelines = append(a.timelines, schedule.NewTimeline(s))
	}
	return a
}

// changes brings both up to a moment. It says whether a decision is due because one of them asks for another count.
func (a *ahead) changes(m *machine, now time.Time) bool {
	// The model knows how long its starts take at most, as the autoscaler does after a few of them.
	lead := schedule.Lead(m.Startup + m.Jitter)
	if deadline := m.Policy.ProgressDeadline; deadline > 0 {
		lead = min(lead, deadline)
	}
	planned := a.plan(now, lead)
	expected := m.Policy.Predictive != model.PredictiveOff && a.expect(m, now, lead)
	return planned || expected
}

func (a *ahead) plan(now time.Time, lead time.Duration) bool {
	if len(a.timelines) == 0 || a.planned && (a.bounds.Change.IsZero() || now.Before(a.bounds.Change)) {
		return false
	}
	a.bounds, a.planned = schedule.Bounds{}, true
	for _, t := range a.timelines {
		a.bounds = a.bounds.With(t.At(now, lead))
	}
	a.floor, a.ceiling = a.bounds.Floor(now), a.bounds.Ceiling(now)
	return true
}

// expect records the load of the last minute and makes the forecast again.
func (a *ahead) expect(m *machine, now time.Time, lead time.Duration) bool {
	if now.Before(a.look) {
		return false
	}
	a.look = now.Add(predictive.Every)
	if m.replicas.asked == 0 && m.queue.waiting == 0 {
		a.peak = max(0, a.peak)
	}
	if a.peak >= 0 {
		a.history.Record(now, a.peak)
	}
	a.peak = unknownLoad
	before := a.expected.Replicas
	a.expected = predictive.Propose(&m.Policy, &a.history, 1, lead, now)
	return a.expected.Replicas != before
}

// note takes a decision. Limited says that a schedule allowed fewer replicas than the policy does.
func (a *ahead) note(d *model.Decision, limited bool) {
	if d.Fresh {
		a.peak = max(a.peak, d.Stable)
	}
	if limited && d.Reason == model.ReasonMaxScale {
		d.Reason, d.Limit = model.ReasonScheduleMax, a.ceiling
	}
}

// limited returns the policy with the maximum of the schedules.
func (a *ahead) limited(p *model.Scaling) *model.Scaling {
	if a.ceiling.Signal == "" {
		return p
	}
	limited := *p
	_, limited.MaxScale = a.bounds.Apply(p.MinScale, p.MaxScale)
	return &limited
}

// signals appends the counts that they ask for. A forecast that expects nothing, or is only observed, is none.
func (a *ahead) signals(to []model.Proposal) []model.Proposal {
	if a.floor.Signal != "" {
		to = append(to, a.floor)
	}
	if a.expected.Signal == predictive.Signal && a.expected.Replicas >= 0 {
		to = append(to, a.expected)
	}
	return to
}
