package autoscaler

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

// anyPolicy makes a policy from all over the ranges.
func anyPolicy(r *rand.Rand) model.Scaling {
	c := DefaultConfig()
	p := Policy(&c, Template{Concurrency: r.IntN(20)})
	p.StableWindow = time.Duration(6+r.IntN(90)) * time.Second
	p.PanicWindow = panicWindow(p.StableWindow, 1+99*r.Float64())
	p.ScaleDownDelay = time.Duration(r.IntN(3)*r.IntN(60)) * time.Second
	p.MinScale = r.IntN(4)
	p.MaxScale = (p.MinScale + 1 + r.IntN(30)) * r.IntN(2)
	p.TargetBurstCapacity = []float64{-1, 0, 7, 211}[r.IntN(4)]
	p.MaxScaleUpRate = 1.1 + 20*r.Float64()
	p.ScaleToZero = r.IntN(4) > 0
	p.Aggregation = []model.Aggregation{model.Linear, model.WeightedExponential}[r.IntN(2)]
	return p
}

// wander runs a revision with any policy under any load and checks each step. leap may set the clock.
func wander(t *testing.T, seed uint64, leap func(r *rand.Rand, now time.Time) time.Time,
	check func(p *model.Scaling, o *Observation, d model.Decision)) {
	r := rand.New(rand.NewPCG(seed, 3))
	p, s, now, o := anyPolicy(r), State{}, epoch, Observation{}
	level := 0.
	for range 400 {
		now = leap(r, now.Add(2*time.Second))
		if r.IntN(20) == 0 {
			level = math.Pow(10, 3*r.Float64()) - 1
		}
		o.Samples = nil
		if r.IntN(10) > 0 {
			o.Samples = []model.Sample{{Time: now, Concurrency: level * r.Float64()}}
		}
		o.Unreachable = o.Unreachable != (r.IntN(100) == 0)
		if r.IntN(30) == 0 {
			o.BackedSince = []time.Time{{}, now}[r.IntN(2)]
		}
		var d model.Decision
		d, s = Decide(&p, s, &o, now)
		check(&p, &o, d)
		if t.Failed() {
			t.Fatalf("with seed %d, policy %+v: %+v: %s", seed, p, d, d.Why())
		}
		o.Replicas = d.Replicas
		if r.IntN(3) > 0 {
			o.Ready = d.Replicas
		}
		o.Ready = min(o.Ready, o.Replicas)
	}
}

func straight(_ *rand.Rand, now time.Time) time.Time { return now }

func TestNeverOutsideTheBounds(t *testing.T) {
	for seed := range uint64(300) {
		wander(t, seed, straight, func(p *model.Scaling, o *Observation, d model.Decision) {
			if d.Replicas < 0 || !o.Unreachable && d.Replicas < p.MinScale || p.MaxScale > 0 && d.Replicas > p.MaxScale {
				t.Errorf("%d replicas", d.Replicas)
			}
			if d.Replicas == 0 && o.Replicas > 0 &&
				(!p.ScaleToZero || o.BackedSince.IsZero() && d.Reason != model.ReasonActivationTimeout) {
				t.Errorf("zero where it is not safe")
			}
		})
	}
}

func TestMissingDataNeverScalesDown(t *testing.T) {
	held := 0
	for seed := range uint64(300) {
		// Now and then the clock is far ahead, so that the windows are empty.
		leap := func(r *rand.Rand, now time.Time) time.Time {
			return now.Add(time.Duration(r.IntN(30)/29) * 100 * time.Second)
		}
		wander(t, seed, leap, func(_ *model.Scaling, o *Observation, d model.Decision) {
			if d.Fresh || o.Replicas == 0 {
				return
			}
			held++
			if d.Replicas < o.Replicas {
				t.Errorf("from %d to %d replicas without data", o.Replicas, d.Replicas)
			}
		})
	}
	if held < 300 {
		t.Errorf("only %d decisions without data", held)
	}
}

func TestClockThatJumpsDoesNoHarm(t *testing.T) {
	for _, jump := range []time.Duration{
		-72 * time.Hour, -time.Hour, -59 * time.Second, -3 * time.Second, time.Minute, time.Hour, 9000 * time.Hour,
	} {
		t.Run(jump.String(), func(t *testing.T) {
			v := newDrive(t, "scale-down-delay", "10s").running(6)
			v.forSeconds(100, 35)
			before := v.d.Replicas
			v.now = v.now.Add(jump)
			for range 60 {
				// A second that is seen twice counts twice: that is more, never less.
				if d := v.tick(35); d.Replicas < before || d.Replicas > 2*before {
					t.Fatalf("%d replicas after the jump, %d before: %s", d.Replicas, before, d.Why())
				}
			}
			v.o.BackedSince = v.now
			if v.forSeconds(150, 0); v.d.Replicas != 0 {
				t.Errorf("%d replicas long after the last request: %s", v.d.Replicas, v.d.Why())
			}
		})
	}
}

func TestImpossibleFiguresAreLeftOut(t *testing.T) {
	v := newDrive(t).running(2)
	v.forSeconds(60, 13)
	for _, wrong := range []float64{math.NaN(), math.Inf(1), -5, 1e300} {
		v.o.Samples = append(v.o.Samples, model.Sample{Time: v.now, Concurrency: wrong},
			model.Sample{Time: v.now, ReplacedConcurrency: wrong})
	}
	if d := v.tick(13); d.Stable != 13 || d.Replicas != 2 {
		t.Errorf("%d replicas at a stable average of %v, want 2 and 13", d.Replicas, d.Stable)
	}
}

func TestCloneDecidesAlikeAndApart(t *testing.T) {
	v := newDrive(t, "scale-down-delay", "20s").running(3)
	v.forSeconds(90, 30)
	copied := v.s.Clone()
	v.o.Samples = []model.Sample{{Time: v.now, Concurrency: 44}}
	first, _ := Decide(&v.p, v.s, &v.o, v.now)
	second, _ := Decide(&v.p, copied, &v.o, v.now)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("a clone decides otherwise (-first +second):\n%s", diff)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(make([]byte, 400))
	f.Add([]byte("a policy of letters, and samples of letters, over and over and over again, to the end of the bytes"))
	f.Fuzz(func(t *testing.T, data []byte) {
		number := func() float64 {
			if len(data) < 8 {
				return 0
			}
			v := math.Float64frombits(binary.LittleEndian.Uint64(data))
			data = data[8:]
			return v
		}
		whole := func() int { return int(int32(math.Float64bits(number()))) }
		span := func() time.Duration { return time.Duration(math.Float64bits(number())) }
		p := model.Scaling{
			Target: number(), Total: number(), MaxScaleUpRate: number(), MaxScaleDownRate: number(),
			PanicThreshold: number(), TargetBurstCapacity: number(), ActivatorCapacity: number(),
			StableWindow: span(), PanicWindow: span(), ScaleDownDelay: span(), Grace: span(), Retention: span(), ProgressDeadline: span(),
			MinScale: whole(), MaxScale: whole(), InitialScale: whole(), ActivationScale: whole(), ScaleToZero: whole()%2 == 0,
		}
		if whole()%2 == 0 {
			p.Aggregation, p.Metric = model.WeightedExponential, model.RPS
		}
		var s State
		for now := epoch; len(data) >= 8; {
			now = now.Add(span())
			o := Observation{Replicas: whole(), Ready: whole(), Quiet: whole()%2 == 0, Unreachable: whole()%2 == 0}
			o.Samples = []model.Sample{{Time: now.Add(span()), Concurrency: number(), ReplacedConcurrency: number(), Requests: number()}}
			o.Signals = []model.Proposal{{Signal: "any", Replicas: whole()}}
			var d model.Decision
			if d, s = Decide(&p, s, &o, now); d.Replicas < 0 || d.Why() == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add("window", "6s", "target", "0.01")
	f.Add("max-scale", "3", "minScale", "x")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		c := DefaultConfig()
		a := map[string]string{group + key1: value1, group + key2: value2}
		p := Policy(&c, Template{Annotations: a})
		if err := Validate(&c, a); err == nil && (p.StableWindow < minWindow || p.Target < minTarget || p.MinScale < 0) {
			t.Errorf("%v gives %+v", a, p)
		}
		if _, err := ParseConfig(map[string]string{key1: value1, key2: value2}); err != nil && err.Error() == "" {
			t.Error("an error without a sentence")
		}
	})
}
