package autoscaler

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// BenchmarkDecide is one decision with two samples, in stable and in panic mode.
func BenchmarkDecide(b *testing.B) {
	for _, c := range []struct {
		name        string
		aggregation model.Aggregation
		load        float64
		delay       time.Duration
	}{
		{"linear", model.Linear, 30, 0},
		{"weighted", model.WeightedExponential, 30, 0},
		{"delay", model.Linear, 30, time.Minute},
		{"panic", model.Linear, 3000, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			config := DefaultConfig()
			p := Policy(&config, Template{Concurrency: 10})
			p.Aggregation, p.ScaleDownDelay = c.aggregation, c.delay
			samples := make([]model.Sample, 2)
			o := Observation{Samples: samples, Replicas: 5, Ready: 5}
			s, now := State{}, epoch
			b.ReportAllocs()
			for b.Loop() {
				for i := range samples {
					now = now.Add(time.Second)
					samples[i] = model.Sample{Time: now, Concurrency: c.load}
				}
				_, s = Decide(&p, s, &o, now)
			}
		})
	}
}

// BenchmarkTick decides for 10,000 revisions, as one tick of the loop does.
func BenchmarkTick(b *testing.B) {
	const revisions = 10_000
	config := DefaultConfig()
	p := Policy(&config, Template{Concurrency: 10})
	states, samples, now := make([]State, revisions), make([]model.Sample, 2), epoch
	o := Observation{Samples: samples, Replicas: 3, Ready: 3}
	b.ReportAllocs()
	for b.Loop() {
		for i := range samples {
			now = now.Add(time.Second)
			samples[i] = model.Sample{Time: now, Concurrency: 20}
		}
		for i := range states {
			_, states[i] = Decide(&p, states[i], &o, now)
		}
	}
}

// BenchmarkWhy is the sentence, which is only made when a decision is shown.
func BenchmarkWhy(b *testing.B) {
	d := model.Decision{Replicas: 3, Reason: model.ReasonStable, Metric: model.Concurrency, Stable: 20, Panic: 21, Target: 7, Ready: 2}
	b.ReportAllocs()
	for b.Loop() {
		_ = d.Why()
	}
}
