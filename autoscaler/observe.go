package autoscaler

import (
	"time"

	"sluice.dev/sluice/model"
)

// observing returns what a decision that changes nothing is made on: as if replicas had followed the one before, each ready at once, and as
// if activators backed the revision. It starts from what runs. A revision that no Route names is not observed: its replicas would never
// end.
func (s *State) observing(p *model.Scaling, o *Observation, now time.Time) *Observation {
	if !p.Observe || o.Unreachable {
		return o
	}
	assumed := *o
	if s.observed && o.Ready > 0 {
		assumed.Replicas, assumed.Ready = s.would, s.would
	}
	if o.BackedSince.IsZero() {
		assumed.BackedSince = now.Add(-p.Grace)
	}
	return &assumed
}

// observe has a decision keep what runs: at first the initial scale, and at least one replica, since nothing would start one.
func (s *State) observe(p *model.Scaling, o *Observation, d *model.Decision) {
	if !p.Observe || o.Unreachable {
		return
	}
	s.observed, s.would = true, d.Replicas
	d.Observing, d.Would, d.Replicas, d.Ready = true, d.Replicas, o.Replicas, max(0, o.Ready)
	if o.Replicas <= 0 {
		d.Replicas = max(1, p.InitialScale, p.MinScale)
		if p.MaxScale > 0 {
			d.Replicas = min(d.Replicas, p.MaxScale)
		}
	}
	if d.Ready > 0 && p.TargetBurstCapacity >= 0 {
		d.Via = model.ViaReplicas
	}
}
