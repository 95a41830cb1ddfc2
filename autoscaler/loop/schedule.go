package loop

import (
	"container/heap"
	"slices"
	"time"

	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/model"
)

// timetable is a schedule that is followed, and by how many revisions.
type timetable struct {
	timeline *schedule.Timeline
	users    int
}

// planned is what schedules ask of a revision.
type planned struct {
	schedules  []*model.Schedule // as the adapter has set them
	timetables []*timetable      // of those that compile
	bounds     schedule.Bounds
	// floor and ceiling are the bounds as signals. Their Signal is empty when there is no such bound.
	floor, ceiling model.Proposal
	slot           int // in the agenda, from 1; 0: it is not there
}

// agenda are the revisions whose bounds change at a known moment, as a heap with the earliest on top. Between two changes a schedule costs
// nothing, however many revisions follow it.
type agenda []*revision

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].plan.bounds.Change.Before(a[j].plan.bounds.Change) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].plan.slot, a[j].plan.slot = i+1, j+1
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	r := x.(*revision)
	*a = append(*a, r)
	r.plan.slot = len(*a)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	r := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	r.plan.slot = 0
	return r
}

// follow has a revision follow these schedules, and no other ones.
func (l *Loop) follow(r *revision, schedules []*model.Schedule, now time.Time) {
	if slices.Equal(r.plan.schedules, schedules) {
		return
	}
	before := r.plan.schedules
	r.plan.schedules, r.plan.timetables = schedules, nil
	for _, s := range schedules {
		if t := l.timetable(s); t != nil {
			t.users++
			r.plan.timetables = append(r.plan.timetables, t)
		}
	}
	l.release(before) // what is in both is not compiled again
	l.replan(r, now)
}

func (l *Loop) timetable(s *model.Schedule) *timetable {
	if t := l.timetables[s]; t != nil {
		return t
	}
	compiled, err := schedule.Compile(s)
	if err != nil { // the adapter checks them
		l.log.Error("cannot follow a schedule", "schedule", s.Name, "error", err)
		return nil
	}
	t := &timetable{timeline: schedule.NewTimeline(compiled)}
	l.timetables[s] = t
	return t
}

func (l *Loop) release(schedules []*model.Schedule) {
	for _, s := range schedules {
		if t := l.timetables[s]; t != nil {
			if t.users--; t.users == 0 {
				delete(l.timetables, s)
			}
		}
	}
}

// replan computes the bounds of a revision, and when to do so again.
func (l *Loop) replan(r *revision, now time.Time) {
	p, lead := &r.plan, r.startup.estimate(r.policy.ProgressDeadline)
	p.bounds = schedule.Bounds{}
	for _, t := range p.timetables {
		p.bounds = p.bounds.With(t.timeline.At(now, lead))
	}
	p.floor, p.ceiling = p.bounds.Floor(now), p.bounds.Ceiling(now)
	switch {
	case p.bounds.Change.IsZero() && p.slot > 0:
		heap.Remove(&l.agenda, p.slot-1)
	case p.bounds.Change.IsZero():
	case p.slot > 0:
		heap.Fix(&l.agenda, p.slot-1)
	default:
		heap.Push(&l.agenda, r)
	}
}

// keepAgenda has revisions decide whose bounds change by now. When the clock was set back, all of them are computed again.
func (l *Loop) keepAgenda(now time.Time) {
	now = now.Round(0) // by the clock on the wall, as schedules are
	if now.Before(l.kept) {
		for _, r := range slices.Clone(l.agenda) {
			l.replan(r, now)
			l.decide(r, now)
		}
	}
	l.kept = now
	for len(l.agenda) > 0 && !l.agenda[0].plan.bounds.Change.After(now) {
		r := l.agenda[0]
		l.replan(r, now)
		l.decide(r, now)
	}
}

// arm sets the alarm to the next change of bounds.
func (l *Loop) arm(alarm *time.Timer) {
	var next time.Time
	if len(l.agenda) > 0 {
		next = l.agenda[0].plan.bounds.Change
	}
	switch {
	case next.Equal(l.armed):
		return
	case next.IsZero():
		alarm.Stop()
	default:
		alarm.Reset(max(0, time.Until(next)))
	}
	l.armed = next
}

// limited returns the policy with the maximum of the schedules.
func (r *revision) limited() *model.Scaling {
	if r.plan.ceiling.Signal == "" {
		return &r.policy
	}
	limited := r.policy
	_, limited.MaxScale = r.plan.bounds.Apply(limited.MinScale, limited.MaxScale)
	return &limited
}

// sayLimit has a decision say that a schedule limits it.
func (r *revision) sayLimit(d *model.Decision, limited *model.Scaling) {
	if d.Reason == model.ReasonMaxScale && limited.MaxScale != r.policy.MaxScale {
		d.Reason, d.Limit = model.ReasonScheduleMax, r.plan.ceiling
	}
}
