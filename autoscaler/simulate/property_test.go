package simulate

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// random is any simulation, by seed.
func random(t *testing.T, seed uint64) Options {
	pick := func(i uint64, n int) int { return int(noise(seed, i) * float64(n)) }
	o := options(t, func(s *Shape, a map[string]string) {
		s.Name = ShapeNames()[pick(0, len(shapes))]
		s.Peak, s.Base = float64(pick(1, 400)), float64(pick(2, 20))
		s.Length = time.Duration(60+pick(3, 300)) * time.Second
		s.Latency = time.Duration(1+pick(4, 400)) * time.Millisecond
		s.Seed = seed
		a["target"] = fmt.Sprint(1 + pick(5, 50))
		a["window"] = fmt.Sprintf("%ds", 6+pick(6, 60))
		a["metric"] = []string{"concurrency", "rps"}[pick(7, 2)]
		a["max-scale"] = fmt.Sprint(1 + pick(8, 60))
		a["target-burst-capacity"] = fmt.Sprint(pick(9, 200) - 1)
	})
	o.Concurrency = pick(10, 12)
	o.Startup = time.Duration(pick(11, 9000)) * time.Millisecond
	o.Jitter = time.Duration(pick(12, 4000)) * time.Millisecond
	o.Timeout = time.Duration(1+pick(13, 60)) * time.Second
	o.Seed, o.Start = seed, pick(14, 4)-1
	return o
}

func TestProperties(t *testing.T) {
	for seed := range uint64(60) {
		o := random(t, seed)
		r, err := Run(o)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		arrived, before := 0, Row{}
		for _, row := range r.Rows {
			arrived += row.RPS
			switch {
			case row.Ready+row.Starting != row.Desired:
				t.Fatalf("seed %d: %d ready and %d starting of %d: %+v", seed, row.Ready, row.Starting, row.Desired, row)
			case row.Desired > o.Policy.MaxScale:
				t.Fatalf("seed %d: more than max-scale %d: %+v", seed, o.Policy.MaxScale, row)
			case row.ReplicaSeconds < before.ReplicaSeconds:
				t.Fatalf("seed %d: the cost went down: %+v", seed, row)
			case row.Desired != before.Desired && row.Seconds > 0 && row.Why == "":
				t.Fatalf("seed %d: a step without a why: %+v", seed, row)
			case row.Ready > 0 && o.Concurrency == 0 && row.Waiting > 0:
				t.Fatalf("seed %d: requests wait beside a replica without a limit: %+v", seed, row)
			}
			before = row
		}
		if n := r.Totals; n.Requests != arrived || n.Requests != n.Served+n.Waiting+n.TimedOut {
			t.Fatalf("seed %d: %d arrived by the second, but the totals are %+v", seed, arrived, n)
		}
		if n := r.Totals; n.WaitP50 > n.WaitP95 || n.WaitP95 > n.WaitP99 || n.WaitP99 > n.WaitMax || n.WaitMax > o.Timeout.Seconds()+0.01 {
			t.Fatalf("seed %d: waits out of order: %+v", seed, n)
		}
	}
}

func TestSameSeedSameResult(t *testing.T) {
	for seed := range uint64(10) {
		a, errA := Run(random(t, seed))
		b, errB := Run(random(t, seed))
		if diff := cmp.Diff(a, b); diff != "" || errA != nil || errB != nil {
			t.Fatalf("seed %d: %v %v\n%s", seed, errA, errB, diff)
		}
	}
	o := options(t, nil)
	o.Jitter, o.Concurrency = 5*time.Second, 1
	first, _ := Run(o)
	o.Seed = 7
	if second, _ := Run(o); cmp.Equal(first, second) {
		t.Error("another seed changes nothing")
	}
}

// No more replicas are ready than were ever asked for a start-up ago.
func TestReplicasTakeTheirStartup(t *testing.T) {
	for seed := range uint64(30) {
		o := random(t, seed)
		r, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		ago := int(o.Startup / time.Second) // rounded down: rows are whole seconds
		for i, most := ago+1, r.Rows[0].Desired; i < len(r.Rows); i++ {
			most = max(most, r.Rows[i-ago].Desired)
			if r.Rows[i].Ready > most {
				t.Fatalf("seed %d: %d ready at %d s, but only %d were asked for %v before", seed, r.Rows[i].Ready, i, most, o.Startup)
			}
		}
	}
}

func TestConcurrencyIsRateTimesLatency(t *testing.T) {
	for _, latency := range []time.Duration{
		time.Millisecond, 7 * time.Millisecond, 25 * time.Millisecond, 250 * time.Millisecond, 3 * time.Second,
	} {
		o := options(t, func(s *Shape, a map[string]string) {
			s.Base, s.Peak, s.Length, s.Latency = 400, 400, 2*time.Minute, latency
			a["min-scale"] = "5"
		})
		r, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.Rows[100].Concurrency, 400*latency.Seconds(); math.Abs(got-want) > 0.01*want {
			t.Errorf("%v: concurrency %v, want %v", latency, got, want)
		}
	}
}

func TestColdRequestWaitsForTheStartup(t *testing.T) {
	o := options(t, func(s *Shape, _ map[string]string) { s.Name, s.Peak = "spike", 10 })
	o.Start, o.Startup = 0, 2300*time.Millisecond
	r, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Totals; n.ColdStarts != 1 || n.WaitMax != 2.3 {
		t.Errorf("%d cold starts, longest wait %v s; want 1 and 2.3: the decision is made at once", n.ColdStarts, n.WaitMax)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"start-up takes -1s":         func(o *Options) { o.Startup = -time.Second },
		"time out after 0s":          func(o *Options) { o.Timeout = 0 },
		"goes on for 200h":           func(o *Options) { o.Load.Length = 200 * time.Hour },
		"a request at 0s takes 0s":   func(o *Options) { o.Load.Steps[0].Latency = 0 },
		"set max-scale":              func(o *Options) { o.Policy.Target, o.Load.Steps[99].RPS = 0.01, 1e6 },
		"200000 replicas to start":   func(o *Options) { o.Start = 200_000 },
		"the load goes on for 10m0s": func(o *Options) { o.Load.Steps = nil },
	} {
		o := options(t, func(s *Shape, _ map[string]string) { s.Base = 1 })
		change(&o)
		if _, err := Run(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
