package hpa

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// trace is a revision whose replicas are measured every 15 seconds.
type trace struct {
	name     string
	metric   string // cpu or memory
	target   int64  // percent of the request, or MiB
	min, max int32
	window   int // seconds; 0 is none
	start    int32
	steps    int
	request  int64 // thousandths of a core
	// load is what all replicas use together at a step: thousandths of a core, or bytes.
	load func(step int) float64
	// wild has replicas lack figures, turn unready, and start slowly.
	wild float64
	seed uint64
}

// replica is one pod.
type replica struct {
	name    string
	started time.Time
	turned  time.Time
	state   byte // p(ending), u(nready), r(eady), e(nding)
	request int64
	usage   int64 // -1: none
	at      time.Time
}

const mebi = 1 << 20

func traces() []trace {
	wave := func(mean, swing, period float64) func(int) float64 {
		return func(i int) float64 { return mean + swing*math.Sin(2*math.Pi*float64(i)/period) }
	}
	step := func(before, after float64, at int) func(int) float64 {
		return func(i int) float64 {
			if i < at {
				return before
			}
			return after
		}
	}
	all := []trace{
		{name: "cpu-wave", metric: "cpu", target: 70, min: 1, max: 50, start: 2, steps: 120, request: 200, load: wave(2000, 1800, 60)},
		{name: "cpu-spike", metric: "cpu", target: 50, min: 1, max: 100, start: 1, steps: 60, request: 100, load: step(40, 3000, 5)},
		{name: "cpu-fall", metric: "cpu", target: 50, min: 2, max: 100, start: 40, steps: 80, request: 100, load: step(2000, 100, 4)},
		{name: "cpu-window", metric: "cpu", target: 70, min: 1, max: 50, start: 2, steps: 120, request: 200, window: 60,
			load: wave(2000, 1800, 40)},
		{name: "cpu-window-spike", metric: "cpu", target: 50, min: 1, max: 100, start: 1, steps: 60, request: 100, window: 30,
			load: step(40, 3000, 5)},
		{name: "cpu-within-tolerance", metric: "cpu", target: 70, min: 1, max: 9, start: 4, steps: 60, request: 1000,
			load: wave(2800, 300, 13)},
		{name: "cpu-over-100-percent", metric: "cpu", target: 250, min: 1, max: 20, start: 3, steps: 60, request: 100,
			load: wave(1500, 1400, 30)},
		{name: "below-min", metric: "cpu", target: 70, min: 5, max: 20, start: 2, steps: 40, request: 100, load: wave(100, 0, 1)},
		{name: "above-max", metric: "cpu", target: 70, min: 1, max: 4, start: 9, steps: 40, request: 100, load: wave(5000, 0, 1)},
		{name: "memory-wave", metric: "memory", target: 200, min: 1, max: 30, start: 2, steps: 100, request: 100,
			load: wave(1500*mebi, 1400*mebi, 50)},
		{name: "memory-window", metric: "memory", target: 64, min: 2, max: 30, start: 3, steps: 80, request: 100, window: 120,
			load: wave(900*mebi, 800*mebi, 30)},
	}
	for i := range 20 {
		r := rand.New(rand.NewPCG(uint64(i), 42))
		t := trace{
			name: fmt.Sprintf("wild-%02d", i), metric: "cpu", target: int64(20 + r.IntN(150)), min: int32(1 + r.IntN(3)),
			max:   int32(5 + r.IntN(40)),
			start: int32(1 + r.IntN(8)), steps: 80, request: int64(50 + r.IntN(900)), wild: 0.05 + 0.4*r.Float64(), seed: uint64(i),
		}
		if i%3 == 1 {
			t.window = 15 * (1 + r.IntN(12))
		}
		unit := float64(t.request)
		if i%4 == 3 {
			t.metric, unit = "memory", float64(t.target*mebi)
		}
		t.load = wave(unit*float64(2+r.IntN(8)), unit*float64(1+r.IntN(6)), float64(7+r.IntN(60)))
		all = append(all, t)
	}
	return all
}

// evolve returns the replicas of a step: those of before that are still wanted, and new ones.
func (t *trace) evolve(r *rand.Rand, before []replica, want int32, step int, now time.Time) []replica {
	var all []replica
	for _, p := range before {
		if p.state != 'e' {
			all = append(all, p)
		}
	}
	for i := len(all) - 1; i >= int(want); i-- {
		all[i].state = 'e'
	}
	for i := len(all); i < int(want); i++ {
		p := replica{name: fmt.Sprintf("r%d-%d", step, i), request: t.request, state: 'p', usage: -1}
		if step == 0 {
			p.started, p.turned, p.state = now.Add(-10*time.Minute), now.Add(-10*time.Minute).Add(5*time.Second), 'r'
		}
		all = append(all, p)
	}
	share := max(0, t.load(step)) / float64(max(1, want))
	for i := range all {
		t.move(r, &all[i], share, now)
	}
	return all
}

func (t *trace) move(r *rand.Rand, p *replica, share float64, now time.Time) {
	odd := func() bool { return t.wild > 0 && r.Float64() < t.wild }
	switch {
	case p.state == 'p' && p.started.IsZero():
		p.started = now.Add(-time.Duration(1+r.IntN(9)) * time.Second) // it is created; next time it runs
		if !odd() {
			p.state, p.turned = 'u', p.started
		}
	case p.state == 'p' && !odd():
		p.state, p.turned = 'u', now.Add(-2*time.Second)
	case p.state == 'u' && !odd(), p.state == 'r' && odd():
		p.state = map[byte]byte{'u': 'r', 'r': 'u'}[p.state]
		p.turned = now.Add(-time.Duration(1+r.IntN(12)) * time.Second)
	}
	p.usage = -1
	if p.state != 'p' && !(odd() && odd()) {
		noise := 1.0
		if t.wild > 0 {
			noise = 0.5 + r.Float64()
		}
		p.usage, p.at = int64(share*noise), now.Add(-time.Duration(r.IntN(10))*time.Second)
	}
}

// legend begins each file.
const legend = `# The replicas of a revision, and how many Kubernetes' HorizontalPodAutoscaler asks for; written by test/hpa.
#
# metric   cpu, with a target in percent of the request, or memory, with a target in MiB
# window   the stabilisation window in seconds; 0 is none
#
# Each row is a decision: its second, how many replicas there are to be, how many are asked for, and the replicas. Of each there are, with
# colons between them: its state (p pending, u unready, r ready, e ending), the seconds in which it was started and turned ready or unready
# (- where that is not known), its request in thousandths of a core, and what was measured with its second (- where nothing was):
# thousandths of a core, or bytes.

`

func (t *trace) head() string {
	return fmt.Sprintf("%smetric %s\ntarget %d\nmin %d\nmax %d\nwindow %d\n\n", legend, t.metric, t.target, t.min, t.max, t.window)
}

// row is one decision.
func row(begin, now time.Time, current, wanted int32, all []replica) string {
	second := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return fmt.Sprint(int(t.Sub(begin).Seconds()))
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s %d %d", second(now), current, wanted)
	for _, p := range all {
		fmt.Fprintf(&s, " %c:%s:%s:%d:", p.state, second(p.started), second(p.turned), p.request)
		if p.usage < 0 {
			s.WriteString("-")
		} else {
			fmt.Fprintf(&s, "%d:%s", p.usage, second(p.at))
		}
	}
	return s.String() + "\n"
}
