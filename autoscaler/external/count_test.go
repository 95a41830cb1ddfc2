package external

import (
	"math"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func TestCount(t *testing.T) {
	one := func(value, target float64) []model.ScalerMetric {
		return []model.ScalerMetric{{Name: "depth", Value: value, Target: target}}
	}
	for name, c := range map[string]struct {
		reading reading
		kind    model.MetricType
		ready   int
		want    int
		why     string
	}{
		"inactive":                  {reading{metrics: one(100, 5)}, model.AverageValue, 3, 0, "not active"},
		"active without metrics":    {reading{active: true}, model.AverageValue, 0, 1, "it is active"},
		"active with nothing to do": {reading{active: true, metrics: one(0, 5)}, model.AverageValue, 0, 1, "it is active"},
		"less than a target": {reading{active: true, metrics: one(1, 5)}, model.AverageValue, 0, 1,
			"depth is 1 at a target of 5 per replica"},
		"rounded up": {reading{active: true, metrics: one(11, 5)}, model.AverageValue, 1, 3,
			"depth is 11 at a target of 5"},
		"exactly":             {reading{active: true, metrics: one(10, 5)}, model.AverageValue, 1, 2, ""},
		"fractions":           {reading{active: true, metrics: one(1.1, 0.1)}, model.AverageValue, 1, 11, ""},
		"a hair over is more": {reading{active: true, metrics: one(10.001, 5)}, model.AverageValue, 1, 3, ""},
		"1e18 stays within bounds": {reading{active: true, metrics: one(1e18, 1)}, model.AverageValue, 1, 100,
			"maxReplicas allows no more"},
		"the largest of several": {reading{active: true,
			metrics: append(one(1, 5), model.ScalerMetric{Name: "age", Value: 40, Target: 10})}, model.AverageValue, 1, 4, "age is 40"},
		"by ratio, twice the target":       {reading{active: true, metrics: one(20, 10)}, model.Value, 3, 6, "with 3 ready"},
		"by ratio, half the target":        {reading{active: true, metrics: one(5, 10)}, model.Value, 3, 2, ""},
		"by ratio, within the tolerance":   {reading{active: true, metrics: one(10.9, 10)}, model.Value, 3, 3, ""},
		"by ratio, beyond the tolerance":   {reading{active: true, metrics: one(11.1, 10)}, model.Value, 3, 4, ""},
		"by ratio, from zero":              {reading{active: true, metrics: one(35, 10)}, model.Value, 0, 4, ""},
		"by ratio, active keeps a replica": {reading{active: true, metrics: one(0, 10)}, model.Value, 3, 1, ""},
	} {
		got, why := count(c.reading, c.kind, c.ready, 100)
		if got != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d, since %s; want %d, since %q", name, got, why, c.want, c.why)
		}
	}
}

func TestFiguresThatNothingCanBeScaledBy(t *testing.T) {
	for want, m := range map[string]model.ScalerMetric{
		"the value of m is NaN, want a finite number":                             {Name: "m", Value: math.NaN(), Target: 1},
		"the value of m is +Inf, want a finite number":                            {Name: "m", Value: math.Inf(1), Target: 1},
		"the value of m is -1, want 0 or more":                                    {Name: "m", Value: -1, Target: 1},
		"the target of m is 0, want more than 0; spec.targetValue replaces it":    {Name: "m", Value: 1},
		"the target of m is NaN, want more than 0; spec.targetValue replaces it":  {Name: "m", Value: 1, Target: math.NaN()},
		"the target of m is -0.5, want more than 0; spec.targetValue replaces it": {Name: "m", Value: 1, Target: -0.5},
	} {
		err := reading{active: true, metrics: []model.ScalerMetric{m}}.check()
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	good := reading{active: true, metrics: []model.ScalerMetric{{Name: "m", Value: 1e18, Target: 1e-9}}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
}

func TestHold(t *testing.T) {
	var h hold
	start := time.Unix(1e9, 0)
	for i, c := range []struct {
		after       int // seconds
		count, want int
	}{
		{0, 3, 3}, {10, 5, 5}, {20, 1, 5}, {30, 4, 5}, {50, 2, 5}, {71, 0, 4}, {89, 0, 4}, {90, 0, 2}, {110, 0, 0}, {120, 7, 7},
		{200, 0, 0},
	} {
		if got := h.record(c.count, start.Add(time.Duration(c.after)*time.Second), time.Minute); got != c.want {
			t.Errorf("%d: %d after %d s, want %d", i, got, c.after, c.want)
		}
	}
	for i := range 1000 {
		now := start.Add(time.Hour + time.Duration(i)*time.Second)
		if got := h.record(i%7, now, 0); got != i%7 {
			t.Fatalf("%d without a window, want %d", got, i%7)
		}
		if len(h.steps) > 1 {
			t.Fatalf("%d steps are kept without a window", len(h.steps))
		}
	}
}
