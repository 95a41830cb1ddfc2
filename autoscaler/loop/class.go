package loop

import (
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

// ask asks for a decision by the class of a revision. Of the classes that others lead, Decide gets their count as a signal and no load.
func (l *Loop) ask(r *revision, now time.Time) (d model.Decision) {
	o := autoscaler.Observation{
		Samples: r.samples, Replicas: r.replicas, Ready: r.ready,
		Unreachable: r.scaled.Unreachable, Failing: r.failing, BackedSince: r.backed,
	}
	policy := &r.policy
	if r.policy.Class == autoscaler.HPA {
		hpa := r.hpa()
		led := autoscaler.Led(r.policy, hpa.Min)
		led.MaxScale = hpa.Max
		policy, o.Samples, o.Quiet, o.Unreachable = &led, nil, true, false
		r.signals = append(r.signals[:0], r.platform())
		if l.options.Platform {
			defer func() { d.HPA = &hpa }()
		}
	} else {
		r.allSignals()
	}
	o.Signals = r.signals
	d, r.state = autoscaler.Decide(policy, r.state, &o, now)
	return d
}

// led says that others decide how many replicas a revision has, so that its load need not be known.
func (r *revision) led() bool { return r.policy.Class == autoscaler.HPA }

// hpa returns the policy of now for a revision of the class HPA. As in Knative, min-scale does not hold for one that no Route names. What
// moves the bounds for some time, such as a schedule, belongs here.
func (r *revision) hpa() model.HPA {
	hpa := r.policy.HPA
	if r.scaled.Unreachable {
		hpa.Min = 1
	}
	return hpa
}

// platform returns the count of the platform's own autoscaler.
func (r *revision) platform() model.Proposal {
	if r.asked.Signal != "" {
		return r.asked
	}
	return model.Proposal{Signal: "the HorizontalPodAutoscaler", Replicas: model.UnknownReplicas}
}
