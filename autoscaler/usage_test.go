package autoscaler

import (
	"math"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// using are replicas that have been ready for long and use so much each, of one requested core.
func using(n int, cpu, mebi int64) (all []model.ReplicaUsage) {
	for range n {
		all = append(all, model.ReplicaUsage{Ready: true, Request: 1000, Measured: true, CPU: cpu, Memory: mebi << 20})
	}
	return all
}

func TestUsageProposes(t *testing.T) {
	p := &model.Scaling{StableWindow: time.Minute, CPU: 80, Memory: 200}
	mixed := using(4, 1600, 600)
	mixed[0].Measured, mixed[1].Pending, mixed[2].Ending = false, true, true
	for _, c := range []struct {
		name        string
		replicas    []model.ReplicaUsage
		cpu, memory int
	}{
		{"idle", using(1, 2, 10), 0, 0},
		{"busy without need of more", using(1, 500, 150), 1, 0},
		{"more than one can", using(1, 1000, 300), 2, 2},
		{"within the tolerance", using(10, 850, 185), 10, 10},
		{"fewer are enough", using(10, 100, 50), 2, 3},
		{"some without figures", mixed, 3, 4}, // one at its target, one at the double and at the triple
		{"wrong figures", using(1, math.MaxInt64, math.MinInt64>>20), math.MaxInt32, 0},
		{"nothing requested", []model.ReplicaUsage{{Measured: true, CPU: 5}}, math.MaxInt32, 0},
	} {
		var u Usage
		u.Record(p, c.replicas, epoch)
		got := u.Propose(p, nil, epoch, time.Second)
		if len(got) != 2 || got[0].Signal != "cpu" || got[0].Replicas != c.cpu || got[1].Signal != "memory" || got[1].Replicas != c.memory {
			t.Errorf("%s: %+v, want %d for CPU and %d for memory", c.name, got, c.cpu, c.memory)
		}
	}
}

func TestUsageWithoutFiguresIsUnknown(t *testing.T) {
	p := &model.Scaling{StableWindow: time.Minute, CPU: 80}
	var u Usage
	unknown := func(what string, now time.Time) {
		t.Helper()
		if got := u.Propose(p, nil, now, 15*time.Second); len(got) != 1 || got[0].Replicas != model.UnknownReplicas {
			t.Errorf("%s: %+v", what, got)
		}
	}
	unknown("before the first figures", epoch)
	u.Record(p, using(0, 0, 0), epoch)
	u.Record(p, []model.ReplicaUsage{{}, {Pending: true}}, epoch)
	unknown("no replica is measured", epoch)
	u.Record(p, using(3, 900, 0), epoch)
	if got := u.Propose(p, nil, epoch.Add(15*time.Second), 15*time.Second); got[0].Replicas != 4 {
		t.Errorf("with figures: %+v", got)
	}
	unknown("old figures", epoch.Add(16*time.Second))
	if got := u.Propose(&model.Scaling{}, nil, epoch, time.Second); got != nil {
		t.Errorf("without these signals: %+v", got)
	}
}

func TestCPUIsTheMeanOfTheStableWindow(t *testing.T) {
	p := &model.Scaling{StableWindow: time.Minute, CPU: 100, Memory: 1}
	var u Usage
	now := epoch
	at := func(cores, memory, want, wantMemory int) {
		t.Helper()
		now = now.Add(15 * time.Second)
		u.Record(p, using(1, int64(cores)*1000, int64(memory)), now)
		if got := u.Propose(p, nil, now, time.Second); got[0].Replicas != want || got[1].Replicas != wantMemory {
			t.Errorf("with %d cores: %+v, want %d and %d", cores, got, want, wantMemory)
		}
	}
	at(8, 9, 8, 9)
	at(8, 9, 8, 9)
	at(0, 2, 6, 2) // 5.33
	at(0, 2, 4, 2)
	at(0, 2, 2, 2)
	at(0, 2, 0, 2)
}

func TestScaleOnIsValidated(t *testing.T) {
	c := DefaultConfig()
	for _, key := range []string{ScaleOnCPU, ScaleOnMemory} {
		for value, right := range map[string]bool{
			"80": true, "0.01": true, "1e9": true, "0": false, "-5": false, "NaN": false, "Inf": false, "1e18": false, "": false,
			"80%": false,
		} {
			if err := Validate(&c, map[string]string{key: value}); (err == nil) != right {
				t.Errorf("%s %q: %v", key, value, err)
			}
			p := Policy(&c, Template{Annotations: map[string]string{key: value}})
			if (p.CPU+p.Memory > 0) != right {
				t.Errorf("%s %q: the policy has %g and %g", key, value, p.CPU, p.Memory)
			}
		}
		other := map[string]string{key: "80", "autoscaling.knative.dev/class": HPA}
		if err := Validate(&c, other); err == nil {
			t.Errorf("%s is accepted with the class HPA", key)
		}
		if p := Policy(&c, Template{Annotations: other}); p.CPU+p.Memory > 0 {
			t.Errorf("the class HPA has the signal: %+v", p)
		}
	}
}
