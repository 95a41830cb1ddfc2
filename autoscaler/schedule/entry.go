package schedule

import (
	"errors"
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/model"
)

// Bounds of a schedule.
const (
	// MaxEntries is how many entries a schedule may have.
	MaxEntries = 100
	// MaxDuration is the longest window: a leap year.
	MaxDuration = 366 * 24 * time.Hour
	// MaxLead is the longest lead.
	MaxLead = time.Hour
)

// entry is one line of a schedule.
type entry struct {
	name     string
	min      int // model.UnknownReplicas: none
	max      int // 0: none
	start    *local
	end      *local // nil: duration counts
	duration time.Duration
}

// compileEntry reads an entry. The error says what is wrong with it.
func compileEntry(m *model.ScheduleEntry, zone *time.Location) (entry, error) {
	e := entry{name: m.Name, duration: m.Duration}
	var errs []error
	var err error
	if e.start, err = parse(m.Start, zone); err != nil {
		errs = append(errs, fmt.Errorf("start: %w", err))
	}
	switch {
	case m.End != "" && m.Duration != 0, m.End == "" && m.Duration == 0:
		errs = append(errs, errors.New("want exactly one of duration and end"))
	case m.End != "":
		if e.end, err = parse(m.End, zone); err != nil {
			errs = append(errs, fmt.Errorf("end: %w", err))
		} else if e.start != nil && *e.end.spec == *e.start.spec {
			errs = append(errs, errors.New("end: it is the same as start, so a window would never close"))
		}
	case m.Duration < time.Second || m.Duration > MaxDuration:
		errs = append(errs, fmt.Errorf("duration: %v is not from 1s to %v", m.Duration, MaxDuration))
	}
	return e, errors.Join(append(errs, e.bounds(m))...)
}

// bounds reads the bounds of an entry.
func (e *entry) bounds(m *model.ScheduleEntry) error {
	e.min, e.max = model.UnknownReplicas, 0
	if m.Min == nil && m.Max == nil {
		return errors.New("want minReplicas, maxReplicas or both")
	}
	if m.Min != nil {
		if e.min = *m.Min; e.min < 0 || e.min > math.MaxInt32 {
			return fmt.Errorf("minReplicas: %d is not from 0 to %d", e.min, math.MaxInt32)
		}
	}
	if m.Max != nil {
		if e.max = *m.Max; e.max < 1 || e.max > math.MaxInt32 {
			return fmt.Errorf("maxReplicas: %d is not from 1 to %d", e.max, math.MaxInt32)
		}
		if e.max < e.min {
			return fmt.Errorf("maxReplicas: %d is less than minReplicas, which is %d", e.max, e.min)
		}
	}
	return nil
}

// span is a time in which an entry has an open window. Windows that overlap or touch are one span.
type span struct {
	from time.Time // inclusive; zero: the entry opens no window any more
	to   time.Time // exclusive; zero: it never closes
}

func (s span) holds(t time.Time) bool { return !s.from.IsZero() && !t.Before(s.from) && !s.over(t) }

// over says that the span has ended.
func (s span) over(t time.Time) bool { return !s.to.IsZero() && !t.Before(s.to) }

// at returns the span that a moment is in, else the next one.
func (e *entry) at(t time.Time) span {
	if e.end != nil {
		return e.untilEnd(t)
	}
	// A window is open when the first start within the last duration has been.
	first := e.start.next(t.Add(-e.duration))
	switch {
	case first.IsZero():
		return span{}
	case first.After(t):
		return span{first, e.extend(first)}
	}
	return span{first, e.extend(e.start.last(first, t))}
}

// maxExtensions bounds how many windows that overlap become one span. A longer chain is several spans, each of which begins where the one
// before ends.
const maxExtensions = 16

// extend returns when the windows end that follow each other without a gap, beginning with the one of that start.
func (e *entry) extend(start time.Time) time.Time {
	to := start.Add(e.duration)
	for range maxExtensions {
		next := e.start.next(start)
		if next.IsZero() || next.After(to) {
			break
		}
		start = e.start.last(next, to)
		to = start.Add(e.duration)
	}
	return to
}

// untilEnd is at for an entry with an end. A start while a window is open changes nothing.
func (e *entry) untilEnd(t time.Time) span {
	var first time.Time
	if closed := e.end.before(t); closed.IsZero() { // no window has closed yet
		first = e.start.before(t)
	} else {
		first = e.start.from(closed)
	}
	if first.IsZero() || first.After(t) {
		first = e.start.next(t)
	}
	if first.IsZero() {
		return span{}
	}
	later := first
	if later.Before(t) {
		later = t
	}
	return span{first, e.end.next(later)}
}
