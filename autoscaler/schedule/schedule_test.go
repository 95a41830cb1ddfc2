package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

func compile(t testing.TB, zone string, entries ...model.ScheduleEntry) *Schedule {
	t.Helper()
	for i := range entries {
		if entries[i].Name == "" {
			entries[i].Name = fmt.Sprintf("entry-%d", i+1)
		}
	}
	s, err := Compile(&model.Schedule{Name: `ScalingSchedule "office"`, TimeZone: zone, Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hold(start string, d time.Duration, least int) model.ScheduleEntry {
	return model.ScheduleEntry{Start: start, Duration: d, Min: &least}
}

func until(start, end string, least int) model.ScheduleEntry {
	return model.ScheduleEntry{Start: start, End: end, Min: &least}
}

// TestWindows has the moments at which windows open and close, for each rule that docs/scaling.md has.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		entry      model.ScheduleEntry
		now        string
		from, to   string
	}{
		{"before a window", "UTC", hold("0 8 * * *", time.Hour, 1), "2026-12-01T07:00:00Z", "2026-12-01T08:00:00Z", "2026-12-01T09:00:00Z"},
		{"its first moment", "UTC", hold("0 8 * * *", time.Hour, 1), "2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z",
			"2026-12-01T09:00:00Z"},
		{"inside, as after a restart", "UTC", hold("0 8 * * *", time.Hour, 1), "2026-12-01T08:59:59Z", "2026-12-01T08:00:00Z",
			"2026-12-01T09:00:00Z"},
		{"the moment of its end", "UTC", hold("0 8 * * *", time.Hour, 1), "2026-12-01T09:00:00Z", "2026-12-02T08:00:00Z",
			"2026-12-02T09:00:00Z"},
		{"across midnight", "Europe/Berlin", until("0 22 * * *", "0 6 * * *", 1), "2026-12-01T00:30:00+01:00", "2026-11-30T22:00:00+01:00",
			"2026-12-01T06:00:00+01:00"},
		{"across midnight, before", "Europe/Berlin", until("0 22 * * *", "0 6 * * *", 1), "2026-12-01T06:00:00+01:00",
			"2026-12-01T22:00:00+01:00", "2026-12-02T06:00:00+01:00"},
		{"longer than its period", "UTC", hold("0 * * * *", 90*time.Minute, 1), "2026-12-01T00:10:00Z", "2026-11-30T23:00:00Z",
			"2026-12-01T17:30:00Z"},
		{"that touch", "UTC", hold("0 8,9 * * *", time.Hour, 1), "2026-12-01T00:00:00Z", "2026-12-01T08:00:00Z", "2026-12-01T10:00:00Z"},
		{"a duration is elapsed time", "Europe/Berlin", hold("0 22 * * *", 10*time.Hour, 1), "2026-03-28T23:00:00+01:00",
			"2026-03-28T22:00:00+01:00", "2026-03-29T09:00:00+02:00"},
		{"an end is a local time", "Europe/Berlin", until("0 22 * * *", "0 8 * * *", 1), "2026-03-28T23:00:00+01:00",
			"2026-03-28T22:00:00+01:00", "2026-03-29T08:00:00+02:00"},
		{"a start that is skipped", "Europe/Berlin", hold("30 2 * * *", time.Hour, 1), "2026-03-29T00:00:00+01:00",
			"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		{"an end that is skipped", "Europe/Berlin", until("0 1 * * *", "30 2 * * *", 1), "2026-03-29T01:30:00+01:00",
			"2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"a start that occurs twice", "Europe/Berlin", hold("30 2 * * *", 30*time.Minute, 1), "2026-10-25T00:00:00+02:00",
			"2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"an end that occurs twice", "Europe/Berlin", until("0 1 * * *", "30 2 * * *", 1), "2026-10-25T01:30:00+02:00",
			"2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"half an hour at Lord Howe", "Australia/Lord_Howe", until("0 1 * * *", "0 3 * * *", 1), "2026-04-05T01:15:00+11:00",
			"2026-04-05T01:00:00+11:00", "2026-04-05T03:00:00+10:30"},
		{"a leap day", "UTC", hold("0 0 29 2 *", 24*time.Hour, 1), "2026-12-01T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"starts within an open window", "UTC", until("0 8-16 * * *", "0 18 * * *", 1), "2026-12-01T12:30:00Z", "2026-12-01T08:00:00Z",
			"2026-12-01T18:00:00Z"},
		{"a start at an end", "UTC", until("0 8,12 * * *", "0 12,18 * * *", 1), "2026-12-01T12:00:00Z", "2026-12-01T12:00:00Z",
			"2026-12-01T18:00:00Z"},
		{"Friday to Monday", "UTC", until("0 20 * * FRI", "0 6 * * MON", 1), "2026-11-29T12:00:00Z", "2026-11-27T20:00:00Z",
			"2026-11-30T06:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := compile(t, c.zone, c.entry)
			got := s.Next(at(t, c.now), 1)
			if len(got) != 1 || !got[0].From.Equal(at(t, c.from)) || !got[0].To.Equal(at(t, c.to)) {
				t.Fatalf("at %s: %v, want from %s to %s", c.now, got, c.from, c.to)
			}
			open, want := s.At(at(t, c.now)).Min == 1, !at(t, c.now).Before(at(t, c.from))
			if open != want {
				t.Errorf("at %s the window is open: %t, want %t", c.now, open, want)
			}
		})
	}
}

func TestOverlapsHaveTheLargestMinimumAndTheSmallestMaximum(t *testing.T) {
	s := compile(t, "UTC",
		model.ScheduleEntry{Name: "day", Start: "0 8 * * *", Duration: 10 * time.Hour, Min: new(5), Max: new(20)},
		model.ScheduleEntry{Name: "noon", Start: "0 12 * * *", Duration: time.Hour, Min: new(10), Max: new(30)},
		model.ScheduleEntry{Name: "cap", Start: "0 17 * * *", Duration: 2 * time.Hour, Max: new(3)},
	)
	for _, c := range []struct {
		now         string
		min, max    int
		minBy, why  string
		next        string
		least, most int // of a policy with min-scale 1 and max-scale 15
	}{
		{now: "07:59", next: "08:00", least: 1, most: 15},
		{now: "08:00", min: 5, max: 20, minBy: "day", next: "12:00", least: 5, most: 15,
			why: `entry day of ScalingSchedule "office", until 2026-12-01 18:00 UTC`},
		{now: "12:30", min: 10, max: 20, minBy: "noon", next: "13:00", least: 10, most: 15,
			why: `entry noon of ScalingSchedule "office", until 2026-12-01 13:00 UTC`},
		{now: "17:30", min: 5, max: 3, minBy: "day", next: "18:00", least: 5, most: 5, // the minimum wins
			why: `entry day of ScalingSchedule "office", until 2026-12-01 18:00 UTC`},
		{now: "18:30", max: 3, next: "19:00", least: 1, most: 3},
	} {
		now := at(t, "2026-12-01T"+c.now+":00Z")
		b := s.At(now)
		if b.Min != c.min || b.Max != c.max || b.MinBy.Entry != c.minBy || b.Change.Format("15:04") != c.next {
			t.Errorf("%s: %+v, want %+v", c.now, b, c)
		}
		if c.why != "" && b.MinWhy(now) != c.why {
			t.Errorf("%s: %q, want %q", c.now, b.MinWhy(now), c.why)
		}
		if least, most := b.Apply(1, 15); least != c.least || most != c.most {
			t.Errorf("%s: applied to 1 and 15: %d and %d, want %d and %d", c.now, least, most, c.least, c.most)
		}
	}
	state := s.State(at(t, "2026-12-01T17:30:00Z"))
	want := model.ScheduleState{Active: []string{"day", "cap"}, Min: new(5), Max: new(5), Until: at(t, "2026-12-01T18:00:00Z")}
	if diff := cmp.Diff(want, state); diff != "" {
		t.Errorf("the state: (-want +got)\n%s", diff)
	}
}

func TestBoundsOfAPolicy(t *testing.T) {
	for _, c := range []struct {
		name                            string
		bounds                          Bounds
		minScale, maxScale, least, most int
	}{
		{"nothing asks", Bounds{}, 2, 10, 2, 10},
		{"the larger minimum", Bounds{Min: 5}, 2, 10, 5, 10},
		{"the larger minimum is the policy's", Bounds{Min: 1}, 2, 10, 2, 10},
		{"max-scale bounds a minimum", Bounds{Min: 50}, 2, 10, 10, 10},
		{"the smaller maximum", Bounds{Max: 5}, 2, 10, 2, 5},
		{"the smaller maximum is the policy's", Bounds{Max: 50}, 2, 10, 2, 10},
		{"a maximum where the policy has none", Bounds{Max: 5}, 0, 0, 0, 5},
		{"a maximum below min-scale", Bounds{Max: 1}, 2, 10, 2, 2},
		{"a maximum below the minimum", Bounds{Min: 7, Max: 3}, 0, 0, 7, 7},
	} {
		if least, most := c.bounds.Apply(c.minScale, c.maxScale); least != c.least || most != c.most {
			t.Errorf("%s: %d and %d, want %d and %d", c.name, least, most, c.least, c.most)
		}
	}
}

func TestSchedulesFuse(t *testing.T) {
	now := at(t, "2026-12-01T08:30:00Z")
	a := compile(t, "UTC", model.ScheduleEntry{Name: "a", Start: "0 8 * * *", Duration: time.Hour, Min: new(5), Max: new(9)}).At(now)
	b := compile(t, "UTC", model.ScheduleEntry{Name: "b", Start: "0 8 * * *", Duration: 2 * time.Hour, Min: new(8), Max: new(20)}).At(now)
	for _, fused := range []Bounds{a.With(b), b.With(a)} {
		if fused.Min != 8 || fused.MinBy.Entry != "b" || fused.Max != 9 || fused.MaxBy.Entry != "a" || fused.Change.Hour() != 9 {
			t.Errorf("fused: %+v", fused)
		}
	}
	if fused := (Bounds{}).With(a); fused.Min != 5 || fused.Max != 9 {
		t.Errorf("alone: %+v", fused)
	}
}

func TestLeadHoldsTheMinimumEarly(t *testing.T) {
	s := compile(t, "UTC", model.ScheduleEntry{Name: "a", Start: "0 8 * * *", Duration: time.Hour, Min: new(5), Max: new(9)})
	timeline := NewTimeline(s)
	for _, c := range []struct {
		now, next string
		min, max  int
	}{
		{"07:00:00", "07:59:30", 0, 0}, {"07:59:29", "07:59:30", 0, 0}, {"07:59:30", "08:00:00", 5, 0}, {"08:00:00", "09:00:00", 5, 9},
		{"09:00:00", "07:59:30", 0, 0}, {"07:59:45", "08:00:00", 5, 0}, // a clock that was set back
	} {
		now := at(t, "2026-12-01T"+c.now+"Z")
		if b := timeline.At(now, 30*time.Second); b.Min != c.min || b.Max != c.max || b.Change.Format(time.TimeOnly) != c.next {
			t.Errorf("%s: %+v, want %+v", c.now, b, c)
		}
	}
	if why := timeline.At(at(t, "2026-12-01T07:59:45Z"), time.Minute).MinWhy(at(t, "2026-12-01T07:59:45Z")); why !=
		`entry a of ScalingSchedule "office" begins at 2026-12-01 08:00 UTC, and replicas must be ready then` {
		t.Error(why)
	}
	given, err := Compile(&model.Schedule{Name: "s", Lead: new(10 * time.Minute),
		Entries: []model.ScheduleEntry{{Name: "a", Start: "0 8 * * *", Duration: time.Hour, Min: new(5)}}})
	if err != nil {
		t.Fatal(err)
	}
	if b := NewTimeline(given).At(at(t, "2026-12-01T07:50:00Z"), time.Second); b.Min != 5 {
		t.Errorf("the lead that was given does not count: %+v", b)
	}
}

func TestMistakes(t *testing.T) {
	good := hold("0 8 * * *", time.Hour, 1)
	good.Name = "good"
	entry := func(change func(*model.ScheduleEntry)) *model.Schedule {
		e := good
		change(&e)
		return &model.Schedule{Entries: []model.ScheduleEntry{e}}
	}
	many := &model.Schedule{}
	for i := range 1000 {
		e := good
		e.Name = fmt.Sprint(i)
		many.Entries = append(many.Entries, e)
	}
	for name, c := range map[string]struct {
		in   *model.Schedule
		want []string
	}{
		"no entry":      {&model.Schedule{}, []string{"entries: there is none"}},
		"1,000 entries": {many, []string{"entries: 1000 are more than 100"}},
		"an unknown zone": {&model.Schedule{TimeZone: "Mars/Olympus", Entries: []model.ScheduleEntry{good}},
			[]string{`timeZone: "Mars/Olympus" is no time zone of the IANA database, such as Europe/Berlin`}},
		"the machine's zone": {&model.Schedule{TimeZone: "Local", Entries: []model.ScheduleEntry{good}}, []string{
			`timeZone: "Local" is no time zone of the IANA database, such as Europe/Berlin`}},
		"a zone that is a path": {&model.Schedule{TimeZone: "../etc/passwd", Entries: []model.ScheduleEntry{good}}, []string{
			`timeZone: "../etc/passwd" is no time zone of the IANA database, such as Europe/Berlin`}},
		"a wrong cron": {entry(func(e *model.ScheduleEntry) { e.Start = "61 8 * * *" }), []string{
			`entry good: start: "61 8 * * *" is no cron (end of range (61) above maximum (59): 61); want five fields such as 0 8 * * ` +
				`1-5: minute, hour, day of month, month, day of week`}},
		"six fields": {entry(func(e *model.ScheduleEntry) { e.Start = "0 0 8 * * *" }),
			[]string{`entry good: start: "0 0 8 * * *" is no cron (expected exactly 5 fields, found 6: [0 0 8 * * *]); want five fields ` +
				`such as 0 8 * * 1-5: minute, hour, day of month, month, day of week`}},
		"an interval": {entry(func(e *model.ScheduleEntry) { e.Start = "@every 5m" }),
			[]string{`entry good: start: "@every 5m" has no fixed moments; want a cron such as */5 * * * *`}},
		"a zone in the cron": {entry(func(e *model.ScheduleEntry) { e.Start = "TZ=0" }),
			[]string{"entry good: start: it names a time zone, which belongs into timeZone"}},
		"a cron that never is": {entry(func(e *model.ScheduleEntry) { e.Start = "0 0 30 2 *" }),
			[]string{`entry good: start: "0 0 30 2 *" never occurs`}},
		"no start": {entry(func(e *model.ScheduleEntry) { e.Start = " " }),
			[]string{"entry good: start: it is empty; want a cron such as 0 8 * * 1-5"}},
		"a long cron": {entry(func(e *model.ScheduleEntry) { e.Start = strings.Repeat("0,", 200) + "0 * * * *" }),
			[]string{"entry good: start: it is longer than 200 characters"}},
		"duration and end": {entry(func(e *model.ScheduleEntry) { e.End = "0 9 * * *" }),
			[]string{"entry good: want exactly one of duration and end"}},
		"neither": {entry(func(e *model.ScheduleEntry) { e.Duration = 0 }),
			[]string{"entry good: want exactly one of duration and end"}},
		"a negative duration": {entry(func(e *model.ScheduleEntry) { e.Duration = -time.Hour }),
			[]string{"entry good: duration: -1h0m0s is not from 1s to 8784h0m0s"}},
		"an endless duration": {entry(func(e *model.ScheduleEntry) { e.Duration = 9000 * time.Hour }),
			[]string{"entry good: duration: 9000h0m0s is not from 1s to 8784h0m0s"}},
		"a wrong end": {entry(func(e *model.ScheduleEntry) { e.Duration, e.End = 0, "never" }),
			[]string{`entry good: end: "never" is no cron (expected exactly 5 fields, found 1: [never]); want five fields such as 0 8 * ` +
				`* 1-5: minute, hour, day of month, month, day of week`}},
		"an end at the start": {entry(func(e *model.ScheduleEntry) { e.Duration, e.End = 0, "00 8 * * *" }),
			[]string{"entry good: end: it is the same as start, so a window would never close"}},
		"a negative minimum": {entry(func(e *model.ScheduleEntry) { e.Min = new(-1) }),
			[]string{"entry good: minReplicas: -1 is not from 0 to 2147483647"}},
		"a maximum of zero": {entry(func(e *model.ScheduleEntry) { e.Max = new(0) }),
			[]string{"entry good: maxReplicas: 0 is not from 1 to 2147483647"}},
		"a maximum that is less": {entry(func(e *model.ScheduleEntry) { e.Min, e.Max = new(9), new(3) }),
			[]string{"entry good: maxReplicas: 3 is less than minReplicas, which is 9"}},
		"no bounds": {entry(func(e *model.ScheduleEntry) { e.Min = nil }),
			[]string{"entry good: want minReplicas, maxReplicas or both"}},
		"a name twice": {&model.Schedule{Entries: []model.ScheduleEntry{good, good}},
			[]string{`entries: the name "good" of entry 2 is empty or not the only one`}},
		"a negative lead": {&model.Schedule{Lead: new(-time.Second), Entries: []model.ScheduleEntry{good}},
			[]string{"lead: -1s is not from 0s to 1h0m0s"}},
		"several mistakes": {entry(func(e *model.ScheduleEntry) { e.Start, e.Min = "x", new(-1) }), []string{
			`entry good: start: "x" is no cron (expected exactly 5 fields, found 1: [x]); want five fields such as 0 8 * * 1-5: minute, ` +
				`hour, day of month, month, day of week`,
			"entry good: minReplicas: -1 is not from 0 to 2147483647"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(c.in)
			if err == nil {
				t.Fatal("it compiles")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestBoundsAreThoseOfEachMinute compares a timeline with the definition: a window is open where a start has been within its duration, or
// where the last start is not before the last end.
func TestBoundsAreThoseOfEachMinute(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		name := zones[r.IntN(len(zones))]
		z := zone(t, name)
		var entries []model.ScheduleEntry
		for range 1 + r.IntN(3) {
			e := hold(someCron(r), time.Duration(1+r.IntN(30*60))*time.Minute, 1+r.IntN(20))
			if r.IntN(2) == 0 {
				e.Duration, e.End = 0, someCron(r)
			}
			entries = append(entries, e)
		}
		s, err := Compile(named(entries, name))
		if err != nil {
			continue // start and end were the same
		}
		start := someTime(r, z)
		checkMinutes(t, s, start, entries)
	}
}

func named(entries []model.ScheduleEntry, zone string) *model.Schedule {
	for i := range entries {
		entries[i].Name = fmt.Sprint("e", i)
	}
	return &model.Schedule{TimeZone: zone, Entries: entries}
}

func checkMinutes(t *testing.T, s *Schedule, start time.Time, entries []model.ScheduleEntry) {
	t.Helper()
	timeline := NewTimeline(s)
	starts, ends := make([]time.Time, len(entries)), make([]time.Time, len(entries))
	for i := range s.entries {
		starts[i] = s.entries[i].start.before(start.Add(-1))
		if s.entries[i].end != nil {
			ends[i] = s.entries[i].end.before(start.Add(-1))
		}
	}
	last, change := timeline.At(start, 0), start
	for m := start; m.Before(start.Add(40 * time.Hour)); m = m.Add(time.Minute) {
		want := 0
		for i := range s.entries {
			e := &s.entries[i]
			if e.start.fires(m) {
				starts[i] = m
			}
			if e.end != nil && e.end.fires(m) {
				ends[i] = m
			}
			open := e.end == nil && m.Sub(starts[i]) < e.duration || e.end != nil && !starts[i].Before(ends[i])
			if open {
				want = max(want, e.min)
			}
		}
		b := timeline.At(m, 0)
		if b.Min != want {
			t.Fatalf("%+v at %s: the minimum is %d, want %d", entries, m.In(s.zone), b.Min, want)
		}
		if b.Min != last.Min && m.Before(change) {
			t.Fatalf("%+v at %s: the minimum changes before %s", entries, m, change)
		}
		last, change = b, b.Change
	}
}

// TestWorkIsBounded has crons and durations that a loop over their times would never come to the end of.
func TestWorkIsBounded(t *testing.T) {
	year := MaxDuration
	for name, e := range map[string]model.ScheduleEntry{
		"every minute for a year":            hold("* * * * *", year, 1),
		"every hour for 61 minutes":          hold("0 * * * *", 61*time.Minute, 1),
		"leap days for a year":               hold("0 0 29 2 *", year, 1),
		"leap days until another":            until("0 0 29 2 *", "1 0 29 2 *", 1),
		"every minute until the end of year": until("* * * * *", "59 23 31 12 *", 1),
		"rare weekdays":                      hold("0 0 29 2 1", time.Hour, 1),
	} {
		s := compile(t, "America/New_York", e)
		if windows := s.Next(at(t, "2026-12-01T08:30:00Z"), 50); len(windows) == 0 {
			t.Errorf("%s: there is no window", name)
		}
		b := s.At(at(t, "2026-12-01T08:30:00Z"))
		if b.Change.IsZero() || !b.Change.After(at(t, "2026-12-01T08:30:00Z")) {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestNextListsWindowsInOrder(t *testing.T) {
	s := compile(t, "UTC", hold("0 8 * * *", time.Hour, 1), hold("0 12 * * *", time.Hour, 2))
	got := s.Next(at(t, "2026-12-01T08:30:00Z"), 5)
	var text []string
	for _, w := range got {
		text = append(text, w.Entry+" "+w.From.Format("02 15:04")+"-"+w.To.Format("15:04"))
	}
	want := []string{"entry-1 01 08:00-09:00", "entry-2 01 12:00-13:00", "entry-1 02 08:00-09:00", "entry-2 02 12:00-13:00",
		"entry-1 03 08:00-09:00"}
	if !slices.Equal(text, want) {
		t.Errorf("%q, want %q", text, want)
	}
}

func BenchmarkAt(b *testing.B) {
	s := compile(b, "Europe/Berlin", until("0 8 * * 1-5", "0 18 * * 1-5", 10))
	now := at(b, "2026-12-01T09:00:00Z")
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			s.At(now)
		}
	})
	b.Run("again", func(b *testing.B) {
		t := NewTimeline(s)
		for b.Loop() {
			t.At(now, time.Minute)
		}
	})
}
