package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // images have no time zones

	"github.com/robfig/cron/v3"
)

// maxExpression is the longest cron, in bytes.
const maxExpression = 200

// parser reads the five fields of crontab(5), and descriptors such as @daily.
var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// local is a cron by the clocks of a time zone.
//
// When clocks are set forward, some local times do not occur; when they are set back, some occur twice. As in cron(8), this depends on the
// field of hours. With a cron for certain hours, a time that would be skipped is at the change, and of two equal local times the first
// one counts: such a cron fires once a day, every day. With a cron for every hour ("*"), elapsed time counts: skipped times are left out,
// and both of two equal local times count.
type local struct {
	spec      *cron.SpecSchedule
	zone      *time.Location
	everyHour bool
}

// everyValue is the bit by which the parser marks a field that is "*" (SpecSchedule).
const everyValue = 1 << 63

// parse reads a cron.
func parse(expression string, zone *time.Location) (*local, error) {
	expression = strings.TrimSpace(expression)
	switch upper := strings.ToUpper(expression); {
	case expression == "":
		return nil, errors.New("it is empty; want a cron such as 0 8 * * 1-5")
	case len(expression) > maxExpression:
		return nil, fmt.Errorf("it is longer than %d characters", maxExpression)
	case strings.HasPrefix(upper, "TZ=") || strings.HasPrefix(upper, "CRON_TZ="):
		return nil, errors.New("it names a time zone, which belongs into timeZone")
	}
	parsed, err := parser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("%q is no cron (%w); want five fields such as 0 8 * * 1-5: minute, hour, day of month, month, day of week",
			expression, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("%q has no fixed moments; want a cron such as */5 * * * *", expression)
	}
	l := &local{spec, zone, spec.Hour&everyValue != 0}
	if l.nextFire(someDay).IsZero() {
		return nil, fmt.Errorf("%q never occurs", expression)
	}
	return l, nil
}

// someDay is a moment to look for the times of a cron from.
var someDay = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Zone returns a time zone by its IANA name; an empty one is UTC.
func Zone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // which would depend on the machine
		return nil, fmt.Errorf("%q is no time zone of the IANA database, such as Europe/Berlin", name)
	}
	return zone, nil
}

// maxChanges bounds how many changes of a zone's offset a search passes. Within the reach of nextFire no zone has as many.
const maxChanges = 100

// from returns the first time that the cron fires at or after a moment; zero when it does not fire within nine years.
func (l *local) from(t time.Time) time.Time {
	t = t.In(l.zone)
	for range maxChanges {
		begin, end := t.ZoneBounds()
		clock := clockOf(t)
		fire := l.nextFire(clock.Add(-1))
		if fire.IsZero() {
			return fire
		}
		at := t.Add(fire.Sub(clock))
		if end.IsZero() || at.Before(end) {
			first := l.firstTime(at, begin)
			if at.Equal(first) {
				return at
			}
			t = first
			continue
		}
		// The search goes on behind the change. The offset of the old clock to the new one is what is skipped.
		if skipped := offset(end) - offset(t); !l.everyHour && fire.Sub(clock)-end.Sub(t) < skipped {
			return end
		}
		t = end
	}
	return time.Time{}
}

// firstTime returns at, unless its local time occurs for the second time: then it returns when all second times are over. begin is when the
// clocks of at were last changed.
func (l *local) firstTime(at, begin time.Time) time.Time {
	if begin.IsZero() || l.everyHour {
		return at
	}
	over := begin.Add(offset(begin.Add(-1)) - offset(begin))
	if at.Before(over) {
		return over
	}
	return at
}

// reach is how far the calendar of the library looks ahead for a matching day, less a safety margin; leap days can be eight years apart.
const reach = 4

// nextFire returns the next local time of the cron after one, both in the form of clockOf.
func (l *local) nextFire(clock time.Time) time.Time {
	if fire := l.spec.Next(clock); !fire.IsZero() {
		return fire
	}
	return l.spec.Next(clock.AddDate(reach, 0, 0))
}

// next returns the first time after a moment.
func (l *local) next(t time.Time) time.Time { return l.from(t.Add(1)) }

// last returns the last time at or before a moment, given an earlier one that is not after it. It takes a number of steps that is
// logarithmic in the time between the two.
func (l *local) last(known, t time.Time) time.Time {
	for high := t; ; {
		half := known.Add(high.Sub(known) / 2).Truncate(time.Second)
		switch fire := l.next(half); {
		case !fire.IsZero() && !fire.After(t):
			known = fire
		case half.After(known):
			high = half
		default:
			return known
		}
	}
}

// lookBack are the distances, in days, at which before looks for a time of the cron.
var lookBack = []int{1, 7, 32, 367, 1500, 3300}

// before returns the last time at or before a moment; zero when there is none within nine years.
func (l *local) before(t time.Time) time.Time {
	for _, days := range lookBack {
		if known := l.from(t.AddDate(0, 0, -days)); !known.IsZero() && !known.After(t) {
			return l.last(known, t)
		}
	}
	return time.Time{}
}

// clockOf returns what clocks show at a moment, as a time in UTC, where a search meets no change of offset.
func clockOf(t time.Time) time.Time { return t.Add(offset(t)).UTC() }

// offset is that of a moment's zone to UTC.
func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
