package autoscaler

import (
	"math"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// drive takes one revision through time as the loop does: a sample a second, a decision every second second.
type drive struct {
	t      *testing.T
	p      model.Scaling
	s      State
	o      Observation
	now    time.Time
	d      model.Decision
	change func(*drive) // called before each decision
}

func policy(t *testing.T, pairs ...string) model.Scaling {
	t.Helper()
	a := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		a[group+pairs[i]] = pairs[i+1]
	}
	c := DefaultConfig()
	if err := Validate(&c, a); err != nil {
		t.Fatal(err)
	}
	return Policy(&c, Template{Annotations: a, Concurrency: 10})
}

func newDrive(t *testing.T, pairs ...string) *drive {
	return &drive{t: t, p: policy(t, pairs...), now: epoch}
}

// running finds the revision active for an hour, with its activator in the path.
func (v *drive) running(replicas int) *drive {
	v.o.Replicas, v.o.Ready = replicas, replicas
	v.s = Resume(Restart{Ready: 1, Active: model.True, Since: epoch.Add(-time.Hour), Initialized: true}, epoch)
	v.o.BackedSince = epoch.Add(-time.Hour)
	return v
}

func (v *drive) tick(load float64) model.Decision {
	for range 2 {
		v.now = v.now.Add(time.Second)
		if load >= 0 {
			v.o.Samples = append(v.o.Samples, model.Sample{Time: v.now, Concurrency: load, Requests: load})
		}
	}
	if v.change != nil {
		v.change(v)
	}
	v.d, v.s = Decide(&v.p, v.s, &v.o, v.now)
	v.o.Samples = v.o.Samples[:0]
	v.o.Replicas, v.o.Ready = v.d.Replicas, v.d.Replicas
	return v.d
}

// forSeconds ticks with a load and returns the last decision.
func (v *drive) forSeconds(n int, load float64) model.Decision {
	for range n / 2 {
		v.tick(load)
	}
	return v.d
}

func (v *drive) want(replicas int, reason model.Reason) {
	v.t.Helper()
	if v.d.Replicas != replicas || v.d.Reason != reason {
		v.t.Fatalf("at %v: %d replicas (%s), want %d (%s)", v.now.Sub(epoch), v.d.Replicas, v.d.Reason, replicas, reason)
	}
	if why := v.d.Why(); !strings.Contains(why, " replica") || strings.Contains(why, " -0 ") || strings.HasSuffix(why, ": ") {
		v.t.Fatalf("its why says nothing: %q", why)
	}
}

func TestNewRevisionStartsWithItsInitialScale(t *testing.T) {
	v := newDrive(t, "initial-scale", "3")
	v.tick(-1)
	v.want(3, model.ReasonInitialScale)
	v.o.BackedSince = epoch
	v.forSeconds(120, 0) // its initial scale was reached: now it goes by load
	v.want(0, model.ReasonIdle)
}

func TestScaleToZero(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations []string
		backedAfter int // seconds after the revision became inactive; negative for from the beginning
		least, most int // seconds from the last request to zero
	}{
		{"activator in the path all along", nil, -1, 60, 66},
		{"waits for the grace once backed", nil, 0, 90, 96},
		{"never without proof that the activator backs it", nil, 1 << 20, -1, -1},
		{"not before the retention period", []string{"scale-to-zero-pod-retention-period", "100s"}, -1, 160, 166},
		{"never below min-scale", []string{"min-scale", "1"}, -1, -1, -1},
		{"later with a scale-down delay", []string{"scale-down-delay", "30s"}, -1, 90, 98},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newDrive(t, c.annotations...).running(1)
			inactive := time.Time{}
			v.change = func(v *drive) {
				if c.backedAfter < 0 {
					return
				}
				v.o.BackedSince = time.Time{}
				if v.d.Active.Status == model.False && inactive.IsZero() {
					inactive = v.now
				}
				if backed := inactive.Add(time.Duration(c.backedAfter) * time.Second); !inactive.IsZero() && !v.now.Before(backed) {
					v.o.BackedSince = backed
				}
			}
			v.forSeconds(60, 5)
			last, zero := v.now, -1
			for range 200 {
				if v.tick(0).Replicas == 0 {
					zero = int(v.now.Sub(last).Seconds())
					break
				}
			}
			if zero < c.least || zero > c.most {
				t.Errorf("zero after %d seconds, want %d to %d (%s)", zero, c.least, c.most, v.d.Why())
			}
		})
	}
}

func TestRequestWakesARevisionAtOnce(t *testing.T) {
	v := newDrive(t).running(1)
	v.forSeconds(120, 0)
	v.want(0, model.ReasonIdle)
	v.tick(1)
	v.want(1, model.ReasonStable)
	if v.d.Via != model.ViaActivator {
		t.Errorf("via %s, want the activator until a replica is ready", v.d.Via)
	}
	if v.tick(1); v.d.Active.Status != model.True {
		t.Errorf("Active is %s once a replica is ready, want True", v.d.Active.Status)
	}
}

func TestActivationIsGivenUpAfterItsDeadline(t *testing.T) {
	v := newDrive(t)
	v.change = func(v *drive) { v.o.Ready = 0 }
	v.forSeconds(628, -1)
	v.want(1, model.ReasonActivating)
	v.forSeconds(6, -1)
	if v.d.Replicas != 0 || v.d.Active.Reason != "TimedOut" {
		t.Errorf("%d replicas, Active says %q; want 0 and TimedOut", v.d.Replicas, v.d.Active.Reason)
	}
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations []string
		unreachable bool
		load        float64
		replicas    int
		reason      model.Reason
	}{
		{"max-scale bounds a surge", []string{"max-scale", "3"}, false, 500, 3, model.ReasonMaxScale},
		{"min-scale holds without load", []string{"min-scale", "4"}, false, 0, 4, model.ReasonMinScale},
		{"min-scale does not hold an unreachable revision", []string{"min-scale", "4"}, true, 0, 0, model.ReasonIdle},
		{"max-scale bounds an unreachable revision", []string{"max-scale", "3"}, true, 500, 3, model.ReasonMaxScale},
		{"activation-scale is the least with load", []string{"activation-scale", "5"}, false, 1, 5, model.ReasonActivationScale},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newDrive(t, c.annotations...).running(1)
			v.o.Unreachable = c.unreachable
			v.forSeconds(150, c.load)
			v.want(c.replicas, c.reason)
		})
	}
}

func TestScaleToZeroOffKeepsOne(t *testing.T) {
	v := newDrive(t).running(1)
	v.p.ScaleToZero = false
	v.forSeconds(150, 0)
	v.want(1, model.ReasonScaleToZeroOff)
}

func TestSignalsCompose(t *testing.T) {
	for _, c := range []struct {
		name     string
		load     float64
		signals  []model.Proposal
		replicas int
		reason   model.Reason
	}{
		{"the largest wins", 35, []model.Proposal{{Signal: "cpu", Replicas: 9, Why: "90%"}, {Signal: "memory", Replicas: 7}}, 9,
			model.ReasonSignal},
		{"the load wins when it asks for more", 35, []model.Proposal{{Signal: "cpu", Replicas: 2}}, 5, model.ReasonStable},
		{"the bounds hold for all", 35, []model.Proposal{{Signal: "schedule", Replicas: 99}}, 20, model.ReasonMaxScale},
		{"zero is allowed to all", 0, []model.Proposal{{Signal: "cpu", Replicas: 0}}, 0, model.ReasonIdle},
		{"one without data keeps what runs", 0, []model.Proposal{{Signal: "cpu", Replicas: model.UnknownReplicas}}, 6, model.ReasonSignal},
		{"one of zero does not stand in for load that is not known", -1, []model.Proposal{{Signal: "cpu", Replicas: 0}}, 6,
			model.ReasonNoData},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newDrive(t, "max-scale", "20").running(6)
			v.o.Signals = c.signals
			v.forSeconds(180, c.load)
			v.want(c.replicas, c.reason)
		})
	}
}

func TestVia(t *testing.T) {
	for _, c := range []struct {
		name  string
		burst string
		load  float64
		via   model.Via
	}{
		{"always the activator with -1", "-1", 60, model.ViaActivator},
		{"straight to the replicas with 0", "0", 60, model.ViaReplicas},
		{"straight when the burst finds room", "7", 60, model.ViaReplicas},
		{"the activator when it does not", "211", 60, model.ViaActivator},
		{"the activator at zero", "0", 0, model.ViaActivator},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newDrive(t, "target-burst-capacity", c.burst).running(3)
			v.forSeconds(200, c.load)
			if v.d.Via != c.via {
				t.Errorf("via %s with an excess of %d, want %s", v.d.Via, v.d.ExcessBurstCapacity, c.via)
			}
		})
	}
}

func TestRestartKeepsWhatRunsUntilAWindowIsSeen(t *testing.T) {
	v := newDrive(t).running(9)
	v.s = Resume(Restart{Ready: 9, Active: model.True, Initialized: true}, epoch)
	v.forSeconds(60, 7)
	v.want(9, model.ReasonPanicHold)
	v.forSeconds(8, 7)
	v.want(1, model.ReasonStable)
}

// Sums that have gone up and down again leave a rest of 1e-17 or so behind, on either side of zero.
func TestNoLoadIsNeverBelowZero(t *testing.T) {
	for _, algorithm := range []string{"linear", "weighted-exponential"} {
		v := newDrive(t, "metric-aggregation-algorithm", algorithm).running(1)
		for i := range 120 {
			v.tick(float64(i%7) / 10)
		}
		for range 60 {
			if d := v.tick(0); math.Signbit(d.Stable) || math.Signbit(d.Panic) || strings.Contains(d.Why(), " -0") {
				t.Fatalf("%s: %v, %v: %s", algorithm, d.Stable, d.Panic, d.Why())
			}
		}
	}
}

func TestCorrectedSecondCountsOnce(t *testing.T) {
	for metric, samples := range map[model.Metric][]model.Sample{
		model.Concurrency: {{Time: epoch, Concurrency: 20}, {Time: epoch, Concurrency: 26, ReplacedConcurrency: 20}},
		model.RPS:         {{Time: epoch, Requests: 20}, {Time: epoch, Requests: 26, ReplacedRequests: 20}},
	} {
		p := policy(t, "metric", string(metric))
		d, _ := Decide(&p, State{}, &Observation{Ready: 1, Replicas: 1, Samples: samples}, epoch)
		if d.Stable != 26 {
			t.Errorf("%s: stable %v, want 26", metric, d.Stable)
		}
	}
}
