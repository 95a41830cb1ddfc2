package autoscaler

import (
	"strings"
	"testing"

	"sluice.dev/sluice/model"
)

func TestObservingKeepsWhatRunsAndSaysWhatWouldRun(t *testing.T) {
	v := newDrive(t, "initial-scale", "2")
	v.p.Observe = true
	at := func(would int) {
		t.Helper()
		if v.d.Replicas != 2 || !v.d.Observing || v.d.Would != would || v.d.Via != model.ViaReplicas {
			t.Fatalf("after %v: %d replicas %s, and would be %d; want 2 by replicas, and %d: %s", v.now.Sub(epoch), v.d.Replicas, v.d.Via,
				v.d.Would, would, v.d.Why())
		}
	}
	v.p.TargetBurstCapacity = 0
	v.forSeconds(10, -1)
	v.forSeconds(70, 21) // of 7 for each replica
	at(3)
	if why := v.d.Why(); !strings.HasPrefix(why, "2 replicas, unchanged while sluice.dev/scaling is observe; else 3: concurrency 21") {
		t.Errorf("its why is %q", why)
	}
	v.forSeconds(240, 0)
	at(0)
	v.forSeconds(20, 7)
	if v.d.Would < 1 {
		t.Errorf("with load again it would be %d", v.d.Would)
	}
	v.o.Unreachable, v.o.BackedSince = true, v.now
	v.forSeconds(240, 0)
	if v.d.Observing || v.d.Replicas != 0 {
		t.Errorf("no Route names it, and it still has %d replicas: %s", v.d.Replicas, v.d.Why())
	}
}

func TestObservingBeginsWithAReplicaWithinTheBounds(t *testing.T) {
	c := DefaultConfig()
	c.AllowZeroInitialScale = true
	for name, want := range map[string]struct {
		annotations map[string]string
		replicas    int
	}{
		"initial-scale 0": {map[string]string{group + keyInitialScale: "0"}, 1},
		"min-scale":       {map[string]string{group + keyMinScale: "3"}, 3},
		"max-scale":       {map[string]string{group + keyInitialScale: "9", group + keyMaxScale: "4"}, 4},
	} {
		want.annotations[Mode] = ModeObserve
		p := Policy(&c, Template{Annotations: want.annotations})
		if d, _ := Decide(&p, State{}, &Observation{}, epoch); d.Replicas != want.replicas {
			t.Errorf("%s: begins with %d replicas, want %d", name, d.Replicas, want.replicas)
		}
	}
}

func TestModeIsValidated(t *testing.T) {
	c := DefaultConfig()
	for mode, sentence := range map[string]string{
		"auto": "", "observe": "", "off": `annotation sluice.dev/scaling is "off", want auto or observe`,
		"": `annotation sluice.dev/scaling is "", want auto or observe`,
	} {
		err := Validate(&c, map[string]string{Mode: mode})
		if err != nil && err.Error() != sentence || err == nil && sentence != "" {
			t.Errorf("%q: %v, want %q", mode, err, sentence)
		}
	}
	err := Validate(&c, map[string]string{Mode: ModeObserve, group + keyClass: HPA, group + keyMetric: "cpu"})
	if err == nil || !strings.Contains(err.Error(), "which is for the class kpa.autoscaling.knative.dev alone") {
		t.Errorf("of the class HPA: %v", err)
	}
}
