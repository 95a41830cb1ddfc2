package hpa

import (
	"math"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// steady are replicas that have been ready for long, and use so much.
func steady(n int, cpu, memory int64) (all []model.ReplicaUsage) {
	for range n {
		all = append(all, model.ReplicaUsage{
			Started: begin.Add(-time.Hour), Turned: begin.Add(-time.Hour), Ready: true, Request: 1000, Measured: true,
			CPU: cpu, Memory: memory, At: begin, Window: Period,
		})
	}
	return all
}

func TestWithoutFiguresTheCountIsUnknown(t *testing.T) {
	unmeasured := steady(3, 0, 0)
	for i := range unmeasured {
		unmeasured[i].Measured = false
	}
	for name, c := range map[string]struct {
		policy   model.HPA
		replicas []model.ReplicaUsage
	}{
		"no replicas":       {model.HPA{Min: 1, Metric: model.CPU, Target: 50}, nil},
		"no figures":        {model.HPA{Min: 1, Metric: model.CPU, Target: 50}, unmeasured},
		"an unknown metric": {model.HPA{Min: 1, Metric: "rps", Target: 50}, steady(3, 9000, 0)},
		"no request":        {model.HPA{Min: 1, Metric: model.CPU, Target: 50}, []model.ReplicaUsage{{Measured: true, CPU: 5}}},
	} {
		d, _ := Decide(&c.policy, State{}, 3, c.replicas, begin)
		if d.Replicas != model.UnknownReplicas || d.Why == "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestWrongFiguresStayWithinTheBounds(t *testing.T) {
	for _, figure := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		for _, metric := range []model.Metric{model.CPU, model.Memory} {
			for _, target := range []float64{0.01, 80, 1e18, math.Inf(1)} {
				p := model.HPA{Min: 2, Max: 7, Metric: metric, Target: target}
				var state State
				n := 3
				for step := range 50 {
					var d model.Proposal
					d, state = Decide(&p, state, n, steady(n, figure, figure), begin.Add(time.Duration(step)*Period))
					if d.Replicas < 2 || d.Replicas > 7 {
						t.Fatalf("%s %d at a target of %g: %d replicas (%s)", metric, figure, target, d.Replicas, d.Why)
					}
					n = d.Replicas
				}
			}
		}
	}
}

func TestTheWhyHasTheFigure(t *testing.T) {
	for want, p := range map[string]model.HPA{
		"cpu is at 95% of the request at a target of 50%": {Min: 1,
			Metric: model.CPU, Target: 50},
		"cpu is at 95% of the request at a target of 80%": {Min: 1,
			Metric: model.Memory}, // Kubernetes' default
		"memory is 300 MiB per replica at a target of 200 MiB": {Min: 1,
			Metric: model.Memory, Target: 200},
		"cpu is at 95% of the request at a target of 10%; one step may not go further, or max-scale allows no more": {Min: 1,
			Metric: model.CPU, Target: 10},
	} {
		if d, _ := Decide(&p, State{}, 4, steady(4, 950, 300<<20), begin); d.Why != want {
			t.Errorf("%+v: %q, want %q", p, d.Why, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p, replicas := model.HPA{Min: 1, Max: 100, Metric: model.CPU, Target: 50}, steady(10, 600, 0)
	var state State
	now := begin
	for b.Loop() {
		now = now.Add(Period)
		_, state = Decide(&p, state, 10, replicas, now)
	}
}
