package forecast

import (
	"math"
	"slices"
	"time"
)

// season is what repeats.
type season int

const (
	daily season = iota
	weekly
	seasons
)

// length returns how many buckets a season has, and how many seasons count.
func (s season) length() (buckets, count int64) {
	if s == weekly {
		return perWeek, 3
	}
	return perDay, 7
}

const (
	// least is how many seasons must have the load of a time of day. With two, the smaller one is expected.
	least = 2
	// decay is the weight that errors of the past keep with each bucket: half of it after a day.
	decay = 1 - math.Ln2/float64(perDay)
	// recent is how many buckets move the level: an hour.
	recent = 12
	// maxLevel bounds how much the level moves, in either direction.
	maxLevel = 2
)

// Forecast is the load that is expected.
type Forecast struct {
	// Load is the greatest load that is expected within the time asked for, in the unit of the History.
	Load float64
	// At is when the five minutes begin that have it.
	At time.Time
	// Seasons is on how many days or weeks the load of that time is known. It is 0 while too few are, and then nothing is expected.
	Seasons int
	// Weekly says that the weekday counts; otherwise each day counts as any other.
	Weekly bool
	// Level is by how much the last hour differed from what was expected then, as a factor that Load contains.
	Level float64
}

// Expect returns the greatest load that is expected between a moment and a time ahead of it.
func (h *History) Expect(now time.Time, ahead time.Duration) Forecast {
	f := Forecast{Level: 1}
	s, from, to := h.best(), bucketOf(now), bucketOf(now.Add(min(max(0, ahead), 24*time.Hour)))
	for b := from; b <= to; b++ {
		load, n := h.expected(b, from, s)
		if n < least && s == weekly {
			s = daily // this weekday is not known twice
			load, n = h.expected(b, from, s)
		}
		if n >= least && (f.Seasons == 0 || load > f.Load) {
			f.Load, f.Seasons, f.Weekly = load, n, s == weekly
			f.At = time.Unix(b*int64(Bucket/time.Second), 0).In(now.Location())
		}
	}
	if f.Seasons > 0 {
		f.Level = h.level(from, s)
		f.Load *= f.Level
	}
	return f
}

// expected returns the lower median of the load at the time of a bucket in the seasons before it, and of how many. It uses nothing that
// was not known at the bucket now.
func (h *History) expected(b, now int64, s season) (float64, int) {
	length, count := s.length()
	var known [7]float64
	n := 0
	for at := b - length; at >= b-length*count; at -= length {
		if at >= now {
			continue
		}
		if v, ok := h.at(at); ok {
			known[n] = v
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	slices.Sort(known[:n])
	return known[(n-1)/2], n
}

// best returns the season that has been more often right. Weeks must be better than days to count.
func (h *History) best() season {
	if h.errors[weekly] < h.errors[daily] {
		return weekly
	}
	return daily
}

// score takes the errors that the forecasts of a bucket that is over had. It counts those alone for which both seasons had one.
func (h *History) score(b int64) {
	actual, ok := h.at(b)
	if !ok {
		return
	}
	var now [seasons]float64
	for s := range seasons {
		load, n := h.expected(b, b, s)
		if n < least {
			return
		}
		now[s] = math.Abs(load - actual)
	}
	for s, e := range now {
		h.errors[s] = h.errors[s]*decay + e*(1-decay)
	}
}

// level returns the root of how the load of the last hour relates to the expected one, so that half of a change counts.
func (h *History) level(now int64, s season) float64 {
	var actual, expected float64
	for b := now - recent; b < now; b++ {
		v, ok := h.at(b)
		e, n := h.expected(b, b, s)
		if !ok || n < least {
			continue
		}
		actual, expected = actual+v, expected+e
	}
	if expected == 0 {
		return 1
	}
	return math.Sqrt(min(max(actual/expected, 1./(maxLevel*maxLevel)), maxLevel*maxLevel))
}
