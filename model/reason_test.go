package model

import (
	"strings"
	"testing"
)

func TestWhyReadsAsASentence(t *testing.T) {
	load := Decision{Replicas: 5, Fresh: true, Metric: Concurrency, Stable: 3.3333, Panic: 0, Target: 7, Ready: 6}
	with := func(change func(*Decision)) Decision {
		d := load
		change(&d)
		return d
	}
	for _, c := range []struct {
		decision Decision
		want     string
	}{
		{with(func(d *Decision) { d.Reason = ReasonStable }), "5 replicas: concurrency 3.33 (stable) and 0 (panic) at a target of 7 per replica, 6 ready"},
		{with(func(d *Decision) { d.Reason, d.Replicas = ReasonStable, 1 }), "1 replica: concurrency 3.33 (stable) and 0 (panic) at a target of 7 per replica, 6 ready"},
		// Fewer than the six that were there, and more than the one that the load asks for: the sentence must hold for both.
		{with(func(d *Decision) { d.Reason = ReasonScaleDownDelay }), "5 replicas: as many were needed within scale-down-delay, more than now; concurrency 3.33 (stable) and 0 (panic) at a target of 7 per replica, 6 ready"},
		{Decision{Replicas: 1, Reason: ReasonActivating}, "1 replica: the revision is being activated"},
		{Decision{Replicas: 0, Reason: ReasonActivationTimeout}, "0 replicas: the revision did not become ready in time"},
		{Decision{Replicas: 2, Reason: ReasonSignal, Signal: Proposal{"cpu", 2, "90 % in use"}}, "2 replicas: cpu asks for 2: 90 % in use"},
		{Decision{Replicas: 2, Reason: ReasonScheduleMax, Limit: Proposal{"the schedule", 2, "entry night of it"}}, "2 replicas: the schedule allows no more: entry night of it"},
	} {
		if got := c.decision.Why(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.decision.Reason, got, c.want)
		}
	}
	signals := Decision{Metric: Concurrency, Desired: 3, Proposals: []Proposal{{"the schedule", 2, "entry day"}, {"cpu", -1, ""}, {"a", 4, ""}}}.Signals()
	if got := strings.Join(signals, "; "); got != "concurrency asks for 3; the schedule asks for 2: entry day; cpu has no data; a asks for 4" {
		t.Errorf("signals: %q", got)
	}
	for reason, sentence := range sentences {
		if sentence == "" {
			t.Errorf("%s has no sentence", reason)
		}
	}
}
