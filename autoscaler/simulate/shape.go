package simulate

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Shape describes a built-in load.
type Shape struct {
	// Name is one of ShapeNames.
	Name string
	// Base and Peak are requests a second.
	Base, Peak float64
	// Period is how long the pattern takes; 0 means the shape's own.
	Period, Length time.Duration
	Latency        time.Duration
	// Seed is for what is random.
	Seed uint64
}

// moment is what a shape may depend on: t and the others are seconds.
type moment struct {
	t, period, length float64
	seed              uint64
}

// shapes are the built-in loads: the level at a moment, 0 for the base and 1 for the peak.
var shapes = []struct {
	name, about string
	period      func(length time.Duration) time.Duration
	level       func(moment) float64
}{
	{"step", "base for one period, peak until half of the length, base again", minutes(1), func(m moment) float64 {
		return when(m.t >= m.period && m.t < max(m.length/2, 2*m.period))
	}},
	{"spike", "base, and one peak of 10 seconds after one period", minutes(1), func(m moment) float64 {
		return when(m.t >= m.period && m.t < m.period+10)
	}},
	{"burst", "a peak in the first tenth of every period, base between", minutes(2), func(m moment) float64 {
		return when(math.Mod(m.t, m.period) < m.period/10)
	}},
	{"sine", "from base to peak and back in every period", minutes(5), func(m moment) float64 {
		return (1 - math.Cos(2*math.Pi*m.t/m.period)) / 2
	}},
	{"ramp", "from base to peak in one period, and back in as long", half, func(m moment) float64 {
		return max(0, 1-math.Abs(m.t/m.period-1))
	}},
	{"diurnal", "a day in every period: quiet at night, peaks before noon and in the evening", whole, func(m moment) float64 {
		hour := math.Mod(m.t/m.period, 1) * 24
		return min(1, bell(hour, 10.5, 2.5)+0.75*bell(hour, 19.5, 2)+0.35*bell(hour, 15, 3))
	}},
	{"random", "another level in every period, by seed; low ones more often", seconds(20), func(m moment) float64 {
		u := noise(m.seed, uint64(m.t/m.period))
		return u * u
	}},
}

func minutes(n int) func(time.Duration) time.Duration { return seconds(60 * n) }
func seconds(n int) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return time.Duration(n) * time.Second }
}
func half(length time.Duration) time.Duration  { return length / 2 }
func whole(length time.Duration) time.Duration { return length }

func when(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func bell(x, middle, width float64) float64 {
	d := (x - middle) / width
	return math.Exp(-d * d)
}

// ShapeNames are the built-in shapes.
func ShapeNames() []string {
	names := make([]string, len(shapes))
	for i := range shapes {
		names[i] = shapes[i].name
	}
	return names
}

// ShapeHelp describes the built-in shapes, one per line.
func ShapeHelp() string {
	var b strings.Builder
	for i := range shapes {
		fmt.Fprintf(&b, "  %-9s%s\n", shapes[i].name, shapes[i].about)
	}
	return b.String()
}

// Load makes the load of a shape, one Step a second.
func (s Shape) Load() (Load, error) {
	at := slices.Index(ShapeNames(), s.Name)
	if at < 0 {
		return Load{}, fmt.Errorf("shape %q is none of %s", s.Name, strings.Join(ShapeNames(), ", "))
	}
	if err := s.check(); err != nil {
		return Load{}, err
	}
	if s.Period == 0 {
		s.Period = max(time.Second, shapes[at].period(s.Length))
	}
	m := moment{period: s.Period.Seconds(), length: s.Length.Seconds(), seed: s.Seed}
	l := Load{Name: fmt.Sprintf("%s, %.4g to %.4g requests/s", s.Name, s.Base, s.Peak), Length: s.Length}
	for ; m.t < m.length; m.t++ {
		rps := s.Base + (s.Peak-s.Base)*shapes[at].level(m)
		l.Steps = append(l.Steps, Step{At: time.Duration(m.t) * time.Second, RPS: rps, Latency: wholeMillis(s.Latency)})
	}
	return l, nil
}

// check says whether the figures of a shape are within the limits of a load.
func (s Shape) check() error {
	switch {
	case !(s.Base >= 0 && s.Base <= maxRPS && s.Peak >= 0 && s.Peak <= maxRPS):
		return fmt.Errorf("base %v and peak %v must be from 0 to %.0f requests a second", s.Base, s.Peak, float64(maxRPS))
	case s.Length < time.Second || s.Length > MaxLength:
		return fmt.Errorf("length %v must be from 1s to %v", s.Length, MaxLength)
	case s.Period < 0 || s.Period > 0 && s.Period < time.Second:
		return fmt.Errorf("period %v must be 1s or more", s.Period)
	}
	return nil
}

// noise returns a number from 0 to 1 (excluded) that depends on its arguments alone, by SplitMix64 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", 2014). A pure package has no generator with a hidden state.
func noise(seed, i uint64) float64 {
	z := seed*0xd1342543de82ef95 + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}
