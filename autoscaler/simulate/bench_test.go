package simulate

import (
	"io"
	"testing"
	"time"
)

// An hour of one revision that scales up and down all the time.
func BenchmarkHour(b *testing.B) {
	for _, c := range []struct {
		name    string
		latency time.Duration
	}{{"10 ms ticks", 100 * time.Millisecond}, {"1 ms ticks", 33 * time.Millisecond}} {
		b.Run(c.name, func(b *testing.B) {
			o := options(b, func(s *Shape, a map[string]string) {
				s.Name, s.Length, s.Peak, s.Latency = "sine", time.Hour, 500, c.latency
				a["target"] = "5"
			})
			o.Concurrency = 10
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Run(o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChart(b *testing.B) {
	o := options(b, func(s *Shape, _ map[string]string) { s.Name, s.Length = "sine", time.Hour })
	result, err := Run(o)
	if err != nil {
		b.Fatal(err)
	}
	r := Report{Load: o.Load, Runs: []Named{{Policy: "p", Scaling: o.Policy, Result: result}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Chart().WriteSVG(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
