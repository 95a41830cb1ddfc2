package proxy

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"
)

// Each reading of an integral must be the sum that the test adds up, even if the gateway has been up for years.
func TestIntegralAddsUpRequestSeconds(t *testing.T) {
	const tickTime = time.Duration(1) << tickShift
	for _, up := range []time.Duration{0, time.Hour, 4 * 365 * 24 * time.Hour} {
		var i integral
		var before int64
		var running []time.Duration
		random := rand.New(rand.NewPCG(1, uint64(up)))
		now, over, read := up, time.Duration(0), time.Duration(0)
		for range 20_000 {
			now += time.Duration(random.ExpFloat64() * float64(5*time.Millisecond)).Truncate(tickTime)
			now = now.Truncate(tickTime)
			switch n := random.IntN(10); {
			case n < 5:
				i.begin(now)
				running = append(running, now)
			case n < 9 && len(running) > 0:
				last := len(running) - 1
				pick := random.IntN(len(running))
				over += now - running[pick]
				running[pick] = running[last]
				running = running[:last]
				i.end(now)
			default:
				n, duration := i.read(before, func() time.Duration { return now })
				want := over
				for _, began := range running {
					want += now - began
				}
				read += time.Duration(duration-before) << tickShift
				if before = duration; n != int64(len(running)) || read != want {
					t.Fatalf("up %v: %d running for %v in all, want %d and %v", up, n, read, len(running), want)
				}
			}
		}
	}
}

// A request that ended a moment before a reading, but was counted after it, makes the duration shrink by that moment.
func TestIntegralTakesABackwardStep(t *testing.T) {
	var i integral
	at := func(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
	i.begin(0)
	i.begin(0)
	_, before := i.read(0, at(10*time.Second))
	i.end(9 * time.Second)
	i.end(9 * time.Second)
	if running, duration := i.read(before, at(10*time.Second)); running != 0 || duration >= before {
		t.Errorf("%d running for %d ticks, before %d", running, duration, before)
	}
}

func TestLoadIsReportedUntilThereIsNone(t *testing.T) {
	var l zoneLoad
	report := func(at time.Duration, want *Load) {
		t.Helper()
		got, ok := l.report(func() time.Duration { return at })
		if ok != (want != nil) {
			t.Fatalf("at %v: reported is %v: %+v", at, ok, got)
		}
		if diff := cmp.Diff(want, &got, cmpopts.EquateApprox(0, 1e-3), cmp.AllowUnexported(Load{})); want != nil && diff != "" {
			t.Errorf("at %v (-want +got):\n%s", at, diff)
		}
	}
	report(time.Second, nil)
	l.begin(1500*time.Millisecond, false)
	l.begin(2*time.Second, true)
	report(3*time.Second, &Load{Issued: 2, InProgress: 2, Concurrency: 2.5, Streams: 1})
	l.end(3500*time.Millisecond, true, false)
	report(4*time.Second, &Load{Succeeded: 1, InProgress: 1, Concurrency: 1.5, Streams: 0.5})
	l.end(4*time.Second, false, true)
	report(5*time.Second, &Load{Failed: 1})
	report(6*time.Second, nil)

	// A request that is retried elsewhere does not count.
	l.begin(6*time.Second, true)
	l.withdraw(6*time.Second, true)
	report(7*time.Second, nil)
	l.begin(7*time.Second, false)
	report(8*time.Second, &Load{Issued: 1, InProgress: 1, Concurrency: 1})
	l.withdraw(7*time.Second, false)
	report(9*time.Second, &Load{})
	l.begin(9*time.Second, false)
	l.end(10*time.Second, false, false)
	report(10*time.Second, &Load{Succeeded: 1, Concurrency: 0}) // makes up for what the reports had too much
}

func BenchmarkLoadOfARequest(b *testing.B) {
	p := &Proxy{made: time.Now()}
	b.Run("one at a time", func(b *testing.B) {
		var l zoneLoad
		for b.Loop() {
			l.begin(p.Since(), false)
			l.end(p.Since(), false, false)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		var l zoneLoad
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.begin(p.Since(), false)
				l.end(p.Since(), false, false)
			}
		})
	})
}

// BenchmarkLoadReport is the report on 10,000 clusters, of which one in a hundred has load.
func BenchmarkLoadReport(b *testing.B) {
	p := New(hclog.NewNullLogger())
	for i := range 10_000 {
		c := &Cluster{Name: strings.Repeat("x", 20) + string(rune('a'+i%26)) + time.Duration(i).String()}
		for _, zone := range []string{"pods", "activator"} {
			l := c.zone(zone)
			if i%100 == 0 {
				l.begin(p.Since(), false)
				c.Stats.RqActive.Add(1)
			}
		}
		p.Clusters.Put(c)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(p.Report()); n != 200 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(math.Round(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000), "ns/cluster")
}
