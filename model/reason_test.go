package model

import (
	"slices"
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
		{with(func(d *Decision) { d.Reason = ReasonStable }),
			"5 replicas: concurrency 3.33 (stable) and 0 (panic) at a target of 7 per replica, 6 ready"},
		{with(func(d *Decision) { d.Reason, d.Replicas = ReasonStable, 1 }),
			"1 replica: concurrency 3.33 (stable) and 0 (panic) at a target of 7 per replica, 6 ready"},
		// Fewer than the six that were there, and more than the one that the load asks for: the sentence must hold for both.
		{with(func(d *Decision) { d.Reason = ReasonScaleDownDelay }),
			"5 replicas: as many were needed within scale-down-delay, more than now; concurrency 3.33 (stable) and 0 (panic) at a target " +
				"of 7 per replica, 6 ready"},
		{Decision{Replicas: 1, Reason: ReasonActivating}, "1 replica: the revision is being activated"},
		{Decision{Replicas: 0, Reason: ReasonActivationTimeout}, "0 replicas: the revision did not become ready in time"},
		{Decision{Replicas: 2, Reason: ReasonSignal, Signal: Proposal{"cpu", 2, "90 % in use"}}, "2 replicas: cpu asks for 2: 90 % in use"},
		{Decision{Replicas: 2, Reason: ReasonScheduleMax, Limit: Proposal{"the schedule", 2, "entry night of it"}},
			"2 replicas: the schedule allows no more: entry night of it"},
	} {
		if got := c.decision.Why(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.decision.Reason, got, c.want)
		}
	}
	for reason, sentence := range sentences {
		if sentence == "" {
			t.Errorf("%s has no sentence", reason)
		}
	}
}

func TestAskedHasTheLoadAndEachSignal(t *testing.T) {
	d := Decision{Metric: Concurrency, Desired: 2}
	if got := d.Asked(); got != nil {
		t.Errorf("without signals it has %q", got)
	}
	d.Proposals = []Proposal{{Signal: "scaler/jobs", Replicas: 3, Why: "items is 12"},
		{Signal: "cpu", Replicas: UnknownReplicas, Why: "no figures"}}
	want := []string{
		"the load (concurrency) asks for 2", "scaler/jobs asks for 3: items is 12", "cpu has no data, so what runs stays: no figures",
	}
	if got := d.Asked(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d.Desired = UnknownReplicas
	if got := d.Asked()[0]; got != "the load is not known" {
		t.Errorf("got %q", got)
	}
}
