package forecast_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
)

// monday is a Monday.
var monday = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// fill records a load until a time after monday.
func fill(h *forecast.History, until time.Duration, load func(time.Duration) float64) {
	for at := time.Duration(0); at < until; at += forecast.Bucket {
		h.Record(monday.Add(at), load(at))
	}
}

// office is a load of 100 from 9 to 17 on each day, else 5.
func office(at time.Duration) float64 {
	if h := at % day; h >= 9*time.Hour && h < 17*time.Hour {
		return 100
	}
	return 5
}

// week is office without weekends.
func week(at time.Duration) float64 {
	if at/day%7 >= 5 {
		return 5
	}
	return office(at)
}

func near(a, b float64) bool { return math.Abs(a-b) <= b/100 }

func TestNothingIsExpectedBeforeTwoDays(t *testing.T) {
	var h forecast.History
	if f := h.Expect(monday, time.Minute); f.Seasons != 0 {
		t.Errorf("an empty history expects %+v", f)
	}
	fill(&h, 9*time.Hour+day, office)
	if f := h.Expect(monday.Add(9*time.Hour+day), time.Minute); f.Seasons != 0 {
		t.Errorf("one day expects %+v", f)
	}
}

func TestAPeakIsExpectedAheadOfIt(t *testing.T) {
	var h forecast.History
	now := 2*day + 8*time.Hour + 50*time.Minute
	fill(&h, now, office)
	if f := h.Expect(monday.Add(now), 4*time.Minute); !near(f.Load, 5) {
		t.Errorf("before the lead it expects %+v", f)
	}
	f := h.Expect(monday.Add(now), 10*time.Minute)
	if !near(f.Load, 100) || f.Seasons != 2 || f.Weekly || !f.At.Equal(monday.Add(2*day+9*time.Hour)) {
		t.Errorf("within the lead it expects %+v", f)
	}
}

func TestALoneSpikeAnOutageAndAGapAreOutvoted(t *testing.T) {
	for name, days := range map[string]int{"two days": 2, "three days": 3, "nine days": 9} {
		var h forecast.History
		now := time.Duration(days)*day + 12*time.Hour
		fill(&h, now, func(at time.Duration) float64 {
			if at/day == time.Duration(days)-1 {
				return 1e6 // a spike of a whole day
			}
			return office(at)
		})
		if f := h.Expect(monday.Add(now), 0); !near(f.Load, 100) {
			t.Errorf("%s with a spike: %+v", name, f)
		}
	}
	var h forecast.History
	now := 5*day + 12*time.Hour
	for at := time.Duration(0); at < now; at += forecast.Bucket {
		switch at / day {
		case 3: // nothing is known
		case 2:
			h.Record(monday.Add(at), 0) // an outage
		default:
			h.Record(monday.Add(at), office(at))
		}
	}
	if f := h.Expect(monday.Add(now), 0); !near(f.Load, 100) || f.Seasons != 4 {
		t.Errorf("with an outage and a gap: %+v", f)
	}
}

func TestWeekdaysCountWhenDaysDiffer(t *testing.T) {
	var h forecast.History
	now := 2*7*day + 5*day + 12*time.Hour // a Saturday
	fill(&h, now, week)
	if f := h.Expect(monday.Add(now), 0); !near(f.Load, 5) || !f.Weekly || f.Seasons != 2 {
		t.Errorf("on a Saturday: %+v", f)
	}
}

func TestTheLastHourMovesTheLevel(t *testing.T) {
	var h forecast.History
	now := 3*day + 12*time.Hour
	fill(&h, now, func(at time.Duration) float64 {
		if at/day == 3 {
			return 9 * office(at)
		}
		return office(at)
	})
	if f := h.Expect(monday.Add(now), 0); !near(f.Load, 200) || !near(f.Level, 2) {
		t.Errorf("with nine times the load: %+v", f)
	}
}

func TestHistoryIsBoundedAndSurvivesBytes(t *testing.T) {
	var h forecast.History
	fill(&h, 100*day, week)
	data, err := h.MarshalBinary()
	if err != nil || len(data) > forecast.MaxBytes+16 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	var again forecast.History
	if err := again.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	for at := 100 * day; at < 107*day; at += time.Hour {
		if a, b := h.Expect(monday.Add(at), time.Hour), again.Expect(monday.Add(at), time.Hour); a != b {
			t.Fatalf("after %v: %+v, and read again %+v", at, a, b)
		}
	}
	for want, wrong := range map[string][]byte{
		"wrong length": data[:len(data)-1], "has version 7": append([]byte{7}, data[1:]...),
		"begins at a time": append([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255}, data[9:]...),
	} {
		if err := again.UnmarshalBinary(wrong); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	h.Record(monday.Add(400*day), 1)
	if h.Known() != forecast.Bucket {
		t.Errorf("after a long gap it knows %v", h.Known())
	}
}

func TestAnOlderHistoryIsContinued(t *testing.T) {
	var older, newer forecast.History
	now := 3 * day
	fill(&older, now-time.Hour, office)
	newer.Record(monday.Add(now), 7)
	newer.Record(monday.Add(now), math.NaN())
	newer.Record(monday.Add(now), -1)
	newer.Continue(&older)
	if f := newer.Expect(monday.Add(now+9*time.Hour), 0); !near(f.Load, 100) || f.Seasons != 3 {
		t.Errorf("it expects %+v", f)
	}
}

func FuzzUnmarshal(f *testing.F) {
	var h forecast.History
	fill(&h, 3*day, office)
	data, _ := h.MarshalBinary()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var h forecast.History
		if h.UnmarshalBinary(data) != nil {
			return
		}
		h.Record(monday, 1)
		if f := h.Expect(monday.Add(day), time.Hour); !(f.Load >= 0) {
			t.Errorf("expects %v", f.Load)
		}
	})
}

// shopping is a made load of six weeks: days with two peaks, weaker weekends, growth of 2 % a day, noise, a spike, an outage.
func shopping(r *rand.Rand) []float64 {
	var out []float64
	for at := time.Duration(0); at < 42*day; at += forecast.Bucket {
		hour := (at % day).Hours()
		noon, night := hour-11, hour-20
		v := 10 + 90*math.Exp(-noon*noon/4) + 140*math.Exp(-night*night/3)
		if at/day%7 >= 5 {
			v *= 0.4
		}
		v *= math.Pow(1.02, at.Hours()/24) * math.Exp(0.15*r.NormFloat64())
		switch n := at / day; {
		case n == 17 && hour >= 3 && hour < 4:
			v = 2000
		case n == 24 && hour >= 10 && hour < 12:
			v = 0
		}
		out = append(out, v)
	}
	return out
}

// holtWinters forecasts with additive daily seasons and a damped trend, as many steps ahead.
func holtWinters(load []float64, ahead int) []float64 {
	const alpha, beta, gamma, phi = 0.2, 0.01, 0.3, 0.9
	m := int(day / forecast.Bucket)
	level, trend, season := 0., 0., append([]float64(nil), load[:m]...)
	out := make([]float64, len(load)+ahead)
	for i, v := range load {
		before := level
		level = alpha*(v-season[i%m]) + (1-alpha)*(level+phi*trend)
		trend = beta*(level-before) + (1-beta)*phi*trend
		season[i%m] = gamma*(v-level) + (1-gamma)*season[i%m]
		out[i+ahead] = max(0, level+phi*trend+season[(i+ahead)%m])
	}
	return out
}

// TestTheMethodErrsLessThanOthers compares the mean error of forecasts two buckets ahead, over the last four of six weeks.
func TestTheMethodErrsLessThanOthers(t *testing.T) {
	const ahead = 2
	m := int(day / forecast.Bucket)
	load := shopping(rand.New(rand.NewPCG(1, 2)))
	hw := holtWinters(load, ahead)
	var h forecast.History
	sum := map[string]float64{}
	mean, n := 0., 0
	for i, v := range load {
		now := monday.Add(time.Duration(i) * forecast.Bucket)
		h.Record(now, v)
		at := i + ahead
		if i < 14*m || at >= len(load) {
			continue
		}
		n++
		mean += load[at]
		sum["ours"] += math.Abs(forecast.Point(&h, now.Add(forecast.Bucket), now.Add(ahead*forecast.Bucket)) - load[at])
		sum["naive, day"] += math.Abs(load[at-m] - load[at])
		sum["naive, week"] += math.Abs(load[at-7*m] - load[at])
		sum["Holt-Winters"] += math.Abs(hw[at] - load[at])
	}
	for name, s := range sum {
		t.Logf("%s: the mean error is %.1f %% of the mean load", name, 100*s/mean)
		if name != "ours" && s < sum["ours"] {
			t.Errorf("%s errs less", name)
		}
	}
}

func BenchmarkExpect(b *testing.B) {
	var h forecast.History
	fill(&h, 22*day, week)
	b.ReportAllocs()
	for b.Loop() {
		h.Expect(monday.Add(22*day), time.Minute)
	}
}
