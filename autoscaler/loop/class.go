package loop

import (
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/hpa"
	"sluice.dev/sluice/model"
)

// ask asks for a decision by the class of a revision. Of the classes that others lead, Decide gets their count as a signal and no load.
func (l *Loop) ask(r *revision, now time.Time) (d model.Decision) {
	o := autoscaler.Observation{
		Samples: r.samples, Replicas: r.replicas, Ready: r.ready,
		Unreachable: r.scaled.Unreachable, Failing: r.failing, BackedSince: r.backed,
	}
	policy := r.limited()
	switch class := r.policy.Class; {
	case class == autoscaler.HPA:
		p := r.hpa()
		led := autoscaler.Led(r.policy, p.Min)
		led.MaxScale = p.Max
		policy, o.Samples, o.Quiet, o.Unreachable = &led, nil, true, false
		r.signals = append(r.signals[:0], l.asksHPA(r, &p, now))
		if l.options.Platform {
			defer func() { d.HPA = &p }()
		}
	case class == autoscaler.Event:
		led := autoscaler.LedByTasks(*policy)
		policy, o.Samples, o.Quiet = &led, nil, true
		r.waiting = model.Proposal{}
		r.signals = append(r.allSignals(), l.asksTasks(r, now))
	case !autoscaler.Known(class):
		led := autoscaler.Led(r.policy, 0)
		policy, o.Samples, o.Quiet = &led, nil, true
		r.signals = append(r.signals[:0], r.owner(), l.wakes(r))
	default:
		r.allSignals()
		if l.needsUsage(r) && (r.replicas > 0 || r.ready > 0) { // without a replica there is nothing to measure
			r.signals = r.usage.signals.Propose(&r.policy, r.signals, now, l.patience())
		}
	}
	o.Signals = r.signals
	d, r.state = autoscaler.Decide(policy, r.state, &o, now)
	r.sayLimit(&d, policy)
	return d
}

// led says that others decide how many replicas a revision has, so that its load need not be known.
func (r *revision) led() bool { return r.policy.Class != autoscaler.KPA }

// owner returns the count that the owner of a class asks for which Sluice does not know. Before the owner has asked, what runs stays.
func (r *revision) owner() model.Proposal {
	p := model.Proposal{Signal: r.policy.Class, Replicas: model.UnknownReplicas, Why: "it says so in the RevisionScale"}
	if r.scaled.Asked != nil {
		p.Replicas = max(0, *r.scaled.Asked)
	}
	return p
}

// wakes asks for the first replicas of a revision whose requests are held by activators, and for nothing without them. Its owner need not
// know of requests.
func (l *Loop) wakes(r *revision) model.Proposal {
	p := model.Proposal{Signal: "activator", Why: "requests wait for a replica"}
	if held := l.atActivators(r); held.concurrency > 0 || held.requests > 0 {
		p.Replicas = max(1, r.policy.ActivationScale)
	}
	return p
}

// hpa returns the policy of now for a revision of the class HPA: a schedule moves its bounds. As in Knative, min-scale does not hold for a
// revision that no Route names.
func (r *revision) hpa() model.HPA {
	p := r.policy.HPA
	p.Min, p.Max = r.plan.bounds.Apply(p.Min, p.Max)
	if r.scaled.Unreachable {
		p.Min = 1
	}
	return p
}

// scaler is what the loop knows of the count of a revision of the class HPA, where the platform has no autoscaler of its own.
type scaler struct {
	state   hpa.State
	policy  model.HPA
	asks    model.Proposal
	decided time.Time
}

// asksHPA returns the count of the class HPA: that of the platform's own autoscaler, or where there is none the one that its formula has.
// The formula counts every hpa.Period, and at once when the policy changes.
func (l *Loop) asksHPA(r *revision, p *model.HPA, now time.Time) model.Proposal {
	if l.options.Platform {
		if r.asked.Signal != "" {
			return r.asked
		}
		return model.Proposal{Signal: "the HorizontalPodAutoscaler", Replicas: model.UnknownReplicas}
	}
	s := &r.scaler
	if r.replicas == 0 {
		return model.Proposal{Signal: string(p.Measures()), Replicas: model.UnknownReplicas} // it begins with its initial scale
	}
	if now.Sub(s.decided) < hpa.Period && s.policy == *p {
		return s.asks
	}
	replicas := r.usage.replicas
	if l.stale(r, now) {
		replicas = nil
	}
	s.asks, s.state = hpa.Decide(p, s.state, r.replicas, replicas, now)
	s.policy, s.decided = *p, now
	return s.asks
}
