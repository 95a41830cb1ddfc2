package main

import (
	"fmt"
	"math"
	"math/rand/v2"
)

const group = "autoscaling.knative.dev/"

// trace is one revision and the load that it gets.
type trace struct {
	name        string
	config      map[string]string
	annotations map[string]string
	concurrency int64
	// ready is how many replicas run at the start.
	ready int
	// startup is how many seconds a change of the number of replicas takes.
	startup int
	// replicas, if set, gives the number of ready replicas independent of decisions.
	replicas func(sec int) int
	// unreachable is the second from which no Route names the revision; -1 for never.
	unreachable int
	seconds     int
	// load is the concurrency or the requests per second in a second; negative if it is unknown.
	load func(sec int) float64
}

// annotated makes a trace of five minutes from pairs of annotations without their group.
func annotated(name string, concurrency int64, load func(int) float64, pairs ...string) trace {
	t := trace{
		name: name, concurrency: concurrency, annotations: map[string]string{}, startup: 4, unreachable: -1, seconds: 300, load: load,
	}
	for i := 0; i < len(pairs); i += 2 {
		t.annotations[group+pairs[i]] = pairs[i+1]
	}
	return t
}

// configured is the same with pairs of the configuration.
func configured(name string, concurrency int64, load func(int) float64, pairs ...string) trace {
	t := annotated(name, concurrency, load)
	t.config = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		t.config[pairs[i]] = pairs[i+1]
	}
	return t
}

// spike is 0, then height, then 0 again.
func spike(height float64) func(int) float64 {
	return func(sec int) float64 {
		if sec >= 40 && sec < 130 {
			return height
		}
		return 0
	}
}

// wave oscillates around a mean.
func wave(middle, swing, period float64) func(int) float64 {
	return func(sec int) float64 {
		return round(math.Max(0, middle+swing*math.Sin(2*math.Pi*float64(sec)/period)))
	}
}

// gaps is a constant load that is unknown for longer and longer intervals.
func gaps(sec int) float64 {
	switch {
	case sec > 30 && sec < 33, sec > 60 && sec < 90, sec > 110 && sec < 180, sec > 240:
		return -1
	}
	return float64(20 + sec%7)
}

// reference is the trace of the design notes: one request for 20 seconds, then 60, then none.
func reference(sec int) float64 {
	switch {
	case sec < 20:
		return 1
	case sec < 90:
		return 60
	}
	return 0
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// traces are the fourteen kinds and some random ones.
func traces() []trace {
	all := []trace{
		annotated("00-reference", 10, reference),
		annotated("01-spike", 0, spike(900)),
		annotated("02-around-panic", 10, wave(14, 9, 37)),
		annotated("03-gaps", 5, gaps),
		annotated("05-scale-down-delay", 10, spike(80), "scale-down-delay", "31s"),
		annotated("05-scale-down-delay-wave", 10, wave(60, 60, 50), "scale-down-delay", "20s", "window", "10s"),
		annotated("06-activation-scale", 10, spike(3), "activation-scale", "5"),
		annotated("07-rps", 10, wave(700, 650, 90), "metric", "rps", "target-burst-capacity", "500"),
		annotated("07-rps-target", 0, spike(95), "metric", "rps", "target", "12.5", "target-utilization-percentage", "80"),
		annotated("11-weighted", 10, wave(60, 55, 45), "metric-aggregation-algorithm", "weighted-exponential"),
		annotated("11-weighted-gaps", 5, gaps, "metric-aggregation-algorithm", "weightedExponential", "window", "20s"),
		annotated("12-none-ready", 10, spike(40)),
		annotated("14-start-in-panic", 10, wave(20, 20, 80)),
		annotated("14-start-in-panic-silent", 10, gaps),
	}
	all[len(all)-3].replicas = func(int) int { return 0 }
	all[len(all)-2].ready, all[len(all)-1].ready = 7, 12
	for _, from := range []int{0, 60, 100} {
		t := annotated(fmt.Sprintf("04-unreachable-from-%d", from), 10, spike(90), "scale-down-delay", "40s")
		t.unreachable = from
		all = append(all, t)
	}
	for _, tbc := range []string{"-1", "0", "7", "211", "1000"} {
		all = append(all, annotated("08-burst-capacity-"+tbc, 10, spike(75), "target-burst-capacity", tbc))
	}
	for _, percent := range []string{"1", "33.3", "100"} {
		all = append(all, annotated("09-panic-window-"+percent, 10, wave(40, 39, 70), "panic-window-percentage", percent))
	}
	for _, window := range []string{"6s", "17s", "5m", "1h"} {
		all = append(all, annotated("10-window-"+window, 10, spike(60), "window", window))
	}
	for _, rate := range []string{"1.1", "2", "10"} {
		all = append(all, configured("13-rates-"+rate, 3, spike(100), "max-scale-up-rate", rate, "max-scale-down-rate", rate))
	}
	for seed := range uint64(12) {
		all = append(all, random(seed))
	}
	return all
}

// random makes a trace from a seed: steps with noise and gaps, and settings drawn from their whole ranges.
func random(seed uint64) trace {
	r := rand.New(rand.NewPCG(seed, 14))
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	t := annotated(fmt.Sprintf("random-%02d", seed), int64(pick("\x00", "\x01", "\x07", "\x32")[0]), nil,
		"window", pick("6s", "30s", "60s", "93s"),
		"panic-window-percentage", pick("5", "10", "50"),
		"panic-threshold-percentage", pick("110", "200", "450"),
		"target-burst-capacity", pick("0", "7", "50", "211"),
		"metric-aggregation-algorithm", pick("linear", "weighted-exponential"),
		"scale-down-delay", pick("0s", "7s", "45s"),
		"metric", pick("concurrency", "rps"))
	t.config = map[string]string{"max-scale-up-rate": pick("1.5", "10", "1000"), "max-scale-down-rate": pick("1.1", "2", "5")}
	t.startup = 2 * r.IntN(8)
	t.seconds = 400
	loads := make([]float64, t.seconds)
	level, until, silent := 0., 0, false
	for sec := range loads {
		if sec >= until {
			level, until, silent = math.Pow(10, 3*r.Float64())-1, sec+5+r.IntN(80), r.IntN(5) == 0
			if r.IntN(4) == 0 {
				level = 0
			}
		}
		loads[sec] = round(level * (0.8 + 0.4*r.Float64()))
		if silent {
			loads[sec] = -1
		}
	}
	t.load = func(sec int) float64 { return loads[sec] }
	return t
}
