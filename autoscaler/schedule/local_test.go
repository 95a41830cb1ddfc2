package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, moment string) time.Time {
	t.Helper()
	m, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The moments are in UTC offsets, so that the two times of a doubled hour can be told apart.
func TestCronsOverDaylightSavingChanges(t *testing.T) {
	for _, c := range []struct {
		name, zone, cron, after string
		want                    []string
	}{
		{"a skipped time is at the change", "Europe/Berlin", "30 2 * * *", "2026-03-28T00:00:00+01:00",
			[]string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"the time of the change itself", "Europe/Berlin", "0 2 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"a skipped time and the one of the change are one", "Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"a doubled time counts once", "Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"the second of two equal times is over", "Europe/Berlin", "30 2 * * *", "2026-10-25T02:10:00+01:00",
			[]string{"2026-10-26T02:30:00+01:00"}},
		{"every hour follows elapsed time forward", "Europe/Berlin", "0 * * * *", "2026-03-29T01:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"every hour leaves out skipped times", "Europe/Berlin", "30 * * * *", "2026-03-29T01:00:00+01:00",
			[]string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		{"every hour follows elapsed time back", "Europe/Berlin", "0 * * * *", "2026-10-25T01:30:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"New York skips", "America/New_York", "15 2 * * *", "2026-03-07T12:00:00-05:00",
			[]string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:15:00-04:00"}},
		{"New York repeats", "America/New_York", "15 1 * * *", "2026-10-31T12:00:00-04:00",
			[]string{"2026-11-01T01:15:00-04:00", "2026-11-02T01:15:00-05:00"}},
		{"Lord Howe skips half an hour", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"Lord Howe has its second half hour", "Australia/Lord_Howe", "45 2 * * *", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:45:00+11:00"}},
		{"Lord Howe repeats half an hour", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00:00+11:00",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"Lord Howe by every hour", "Australia/Lord_Howe", "0,30 * * * *", "2026-04-05T01:00:00+11:00",
			[]string{"2026-04-05T01:30:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"}},
		{"midnight that is skipped", "America/Santiago", "0 0 * * *", "2026-09-05T12:00:00-04:00",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		{"a day that is skipped", "Pacific/Apia", "0 12 * * *", "2011-12-29T11:00:00-10:00",
			[]string{"2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
		{"UTC has no changes", "UTC", "30 2 * * *", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"}},
		{"leap days", "UTC", "0 0 29 2 *", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"leap days that are eight years apart", "UTC", "0 0 29 2 *", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"a descriptor", "Europe/Berlin", "@daily", "2026-03-28T12:00:00+01:00", []string{"2026-03-29T00:00:00+01:00"}},
		{"names of days", "UTC", "0 8 * * MON-FRI", "2026-11-28T00:00:00Z", []string{"2026-11-30T08:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := parse(c.cron, zone(t, c.zone))
			if err != nil {
				t.Fatal(err)
			}
			now := at(t, c.after)
			for i, want := range c.want {
				got := l.next(now)
				if !got.Equal(at(t, want)) {
					t.Fatalf("time %d of %q after %s is %s, want %s", i+1, c.cron, c.after, got.Format(time.RFC3339), want)
				}
				if before := l.before(got); !before.Equal(got) {
					t.Errorf("the last time at %s is %s", got, before)
				}
				now = got
			}
		})
	}
}

// fires says by the rules of local, one after the other, whether a cron fires at a moment of whole minutes.
func (l *local) fires(m time.Time) bool {
	m = m.In(l.zone)
	matches := func(clock time.Time) bool { return l.spec.Next(clock.Add(-time.Second)).Equal(clock) }
	begin, _ := m.ZoneBounds()
	change := offset(begin) - offset(begin.Add(-1))
	if m.Equal(begin) && change > 0 && !l.everyHour {
		for skipped := -change; skipped < 0; skipped += time.Minute {
			if matches(clockOf(m).Add(skipped)) {
				return true
			}
		}
	}
	again := change < 0 && m.Before(begin.Add(-change))
	return matches(clockOf(m)) && (l.everyHour || !again)
}

var zones = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "America/Santiago", "Africa/Casablanca"}

// someCron makes crons that fire often enough for a few days.
func someCron(r *rand.Rand) string {
	field := func(most int) string {
		switch r.IntN(4) {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", 2+r.IntN(most/2))
		case 2:
			from := r.IntN(most)
			return fmt.Sprintf("%d-%d", from, from+r.IntN(most-from))
		}
		return fmt.Sprint(r.IntN(most))
	}
	return fmt.Sprintf("%s %s * * %s", field(60), field(24), []string{"*", "*", "0", "6,0", "1-5"}[r.IntN(5)])
}

// someTime is a moment in the week of a change of clocks.
func someTime(r *rand.Rand, z *time.Location) time.Time {
	t := time.Unix(1735689600+r.Int64N(2*365*86400), 0).In(z) // of 2025 and 2026
	if _, end := t.ZoneBounds(); !end.IsZero() {
		t = end.Add(-time.Duration(r.IntN(30*60)) * time.Minute)
	}
	return t.Truncate(time.Minute)
}

func TestCronsAreThoseOfEachMinute(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		name, cron := zones[r.IntN(len(zones))], someCron(r)
		z := zone(t, name)
		l, err := parse(cron, z)
		if err != nil {
			t.Fatal(err)
		}
		start := someTime(r, z)
		next, last := l.from(start), l.before(start.Add(-1))
		for m := start; m.Before(start.Add(60 * time.Hour)); m = m.Add(time.Minute) {
			fires := l.fires(m)
			if fires != m.Equal(next) {
				t.Fatalf("%q in %s, from %s: fires at %s is %t, and next is %s", cron, name, start, m.In(z), fires, next)
			}
			if fires {
				last, next = m, l.next(m)
			}
			if m.Minute()%20 == 7 {
				if got := l.before(m.Add(30 * time.Second)); !got.Equal(last) {
					t.Fatalf("%q in %s: the last time before %s is %s, want %s", cron, name, m.In(z), got, last.In(z))
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"0 8 * * 1-5", "@daily", "@every 5m", "TZ=0", "CRON_TZ=UTC 0 0 * * *", "*/7 1-4/2,9 29 2 ?", "60 * * * *", "* * * * * *",
		"0 0 30 2 *", "@", "1-0 * * * *",
		"*/0 * * * *", "99999999999999999999 * * * *", "\x00", "0-59/1 0-23/23 L W #",
	} {
		f.Add(s)
	}
	z := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, expression string) {
		l, err := parse(expression, z)
		if err != nil {
			return
		}
		now := time.Date(2026, 3, 28, 12, 0, 0, 0, z)
		next := l.next(now)
		if next.IsZero() || !next.After(now) {
			t.Errorf("%q is next at %s", expression, next)
		}
		if before := l.before(now); before.IsZero() || before.After(now) {
			t.Errorf("%q was at %s", expression, before)
		}
	})
}
