package schedule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// Schedule is a compiled schedule. It does not change, and may be shared.
type Schedule struct {
	name    string
	zone    *time.Location
	lead    *time.Duration
	entries []entry
}

// Compile reads a schedule. The error has a line for each mistake, which names the entry.
func Compile(m *model.Schedule) (*Schedule, error) {
	s := &Schedule{name: m.Name, lead: m.Lead}
	var errs []error
	var err error
	if s.zone, err = Zone(m.TimeZone); err != nil {
		errs = append(errs, fmt.Errorf("timeZone: %w", err))
		s.zone = time.UTC // the rest can be checked
	}
	if m.Lead != nil && (*m.Lead < 0 || *m.Lead > MaxLead) {
		errs = append(errs, fmt.Errorf("lead: %v is not from 0s to %v", *m.Lead, MaxLead))
	}
	switch n := len(m.Entries); {
	case n == 0:
		errs = append(errs, errors.New("entries: there is none"))
	case n > MaxEntries:
		return nil, errors.Join(append(errs, fmt.Errorf("entries: %d are more than %d", n, MaxEntries))...)
	}
	names := map[string]bool{}
	for i := range m.Entries {
		in := &m.Entries[i]
		if in.Name == "" || names[in.Name] {
			errs = append(errs, fmt.Errorf("entries: the name %q of entry %d is empty or not the only one", in.Name, i+1))
		}
		names[in.Name] = true
		e, err := compileEntry(in, s.zone)
		for _, mistake := range lines(err) {
			errs = append(errs, fmt.Errorf("entry %s: %w", in.Name, mistake))
		}
		s.entries = append(s.entries, e)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// lines are the errors that were joined.
func lines(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// Name is what sentences call it.
func (s *Schedule) Name() string { return s.name }

// Zone is the time zone of its crons.
func (s *Schedule) Zone() *time.Location { return s.zone }

// At returns the bounds at a moment, without any lead.
func (s *Schedule) At(now time.Time) Bounds { return NewTimeline(s).At(now, 0) }

// State returns what the schedule asks for at a moment.
func (s *Schedule) State(now time.Time) model.ScheduleState {
	t := NewTimeline(s)
	b := t.At(now, 0)
	state := model.ScheduleState{Until: b.Change}
	for i := range s.entries {
		if t.spans[i].holds(now) {
			state.Active = append(state.Active, s.entries[i].name)
		}
	}
	if b.MinBy.Entry != "" {
		state.Min = new(b.Min)
	}
	if b.Max > 0 {
		state.Max = new(max(b.Min, b.Max))
	}
	return state
}

// Window is a time in which an entry asks for its bounds. Windows of the entry that overlap or touch are one.
type Window struct {
	Schedule, Entry string
	// From is when it opens, inclusive, and To when it closes, exclusive and zero if it never does; both in the schedule's time zone.
	From, To time.Time
	// Min is the least number of replicas, model.UnknownReplicas for none, and Max the largest one, 0 for none.
	Min, Max int
}

func (s *Schedule) window(i int, at span) Window {
	e := &s.entries[i]
	w := Window{Schedule: s.name, Entry: e.name, Min: e.min, Max: e.max, From: at.from.In(s.zone), To: at.to}
	if !w.To.IsZero() {
		w.To = w.To.In(s.zone)
	}
	return w
}

// Next returns the windows that are open now or open next, at most n of them, in the order in which they open.
func (s *Schedule) Next(now time.Time, n int) []Window {
	var all []Window
	for i := range s.entries {
		e, t := &s.entries[i], now
		for range n {
			at := e.at(t)
			if at.from.IsZero() {
				break
			}
			all = append(all, s.window(i, at))
			if at.to.IsZero() {
				break
			}
			t = at.to
		}
	}
	slices.SortStableFunc(all, func(a, b Window) int { return a.From.Compare(b.From) })
	return all[:min(n, len(all))]
}
