package autoscaler

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// TestRevisionThatFailsAndIsNotNamedIsGivenUp: one that a Route names is tried until its deadline.
func TestRevisionThatFailsAndIsNotNamedIsGivenUp(t *testing.T) {
	none, two := model.Proposal{Signal: "cpu", Replicas: model.UnknownReplicas}, model.Proposal{Signal: "schedule", Replicas: 2}
	for name, c := range map[string]struct {
		observed Observation
		want     int
	}{
		"fails, and no Route names it": {Observation{Replicas: 1, Unreachable: true, Failing: true, Quiet: true}, 0},
		"the same without data":        {Observation{Replicas: 1, Unreachable: true, Failing: true}, 0},
		"nor has a further signal any": {Observation{Replicas: 1, Unreachable: true, Failing: true, Signals: []model.Proposal{none}}, 0},
		"a further signal asks for it": {Observation{Replicas: 1, Unreachable: true, Failing: true, Signals: []model.Proposal{none, two}},
			2},
		"fails":               {Observation{Replicas: 1, Failing: true, Quiet: true}, 1},
		"no Route names it":   {Observation{Replicas: 1, Unreachable: true, Quiet: true}, 1},
		"serves all the same": {Observation{Replicas: 1, Ready: 1, Unreachable: true, Failing: true, Quiet: true}, 1},
	} {
		policy := policy(t, "min-scale", "1")
		now := time.Unix(1_000_000, 0)
		_, state := Decide(&policy, State{}, &Observation{}, now)
		d, _ := Decide(&policy, state, &c.observed, now.Add(time.Second))
		if d.Replicas != c.want {
			t.Errorf("%s: %d replicas, since %s; want %d", name, d.Replicas, d.Why(), c.want)
		}
	}
}

// TestASignalThatAsksForNothingKeepsNoFailedStart: a start that nobody asks for any more ends, although a signal has data.
func TestASignalThatAsksForNothingKeepsNoFailedStart(t *testing.T) {
	for _, asked := range []int{model.UnknownReplicas, 0, 2} {
		policy := policy(t)
		now := time.Unix(1_000_000, 0)
		_, state := Decide(&policy, State{}, &Observation{}, now)
		o := Observation{Replicas: 1, Failing: true, Signals: []model.Proposal{{Signal: "scaler/queue", Replicas: asked}}}
		d, _ := Decide(&policy, state, &o, now.Add(policy.ProgressDeadline+2*activationBuffer))
		if want := max(0, asked); d.Replicas != want {
			t.Errorf("a signal asks for %d: %d replicas, since %s; want %d", asked, d.Replicas, d.Why(), want)
		}
	}
}
