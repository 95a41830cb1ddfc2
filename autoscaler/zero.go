package autoscaler

import (
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// activationBuffer is added to the progress deadline before an activation counts as failed (kpa/scaler.go), so that the failure of the
// replicas is reported first.
const activationBuffer = 30 * time.Second

// compose returns the largest count that the load and the other signals ask for. A signal without data keeps the replicas that run: it
// might ask for that many. But it does not keep a start that has failed, or that would never end.
func (s *State) compose(p *model.Scaling, o *Observation, now time.Time, d *model.Decision) int {
	want, running := d.Desired, max(0, o.Replicas)
	failed := s.startFailed(p, o, now) && !slices.ContainsFunc(o.Signals, asks)
	mayNeed := len(o.Signals) > 0 || want == 0 && s.phase != inactive // of an inactive revision toZero keeps the replicas
	if !d.Fresh && (want > 0 || mayNeed && !failed) {
		want = max(want, running)
	}
	for i := range o.Signals {
		signal := o.Signals[i]
		if !hasData(signal) {
			if failed {
				continue
			}
			signal.Replicas, signal.Why = running, "it has no data, and may need what runs"
		}
		if signal.Replicas > want {
			want, d.Signal, d.Reason = signal.Replicas, signal, model.ReasonSignal
		}
	}
	return want
}

func hasData(signal model.Proposal) bool { return signal.Replicas >= 0 }

// asks says that a signal asks for replicas: then a start goes on although none became ready.
func asks(signal model.Proposal) bool { return signal.Replicas > 0 }

// floor returns the least count that the bounds allow, and its reason.
func (s *State) floor(p *model.Scaling, o *Observation) (int, model.Reason) {
	switch {
	case o.Unreachable:
		return 0, model.ReasonMinScale
	case !s.initialized && p.InitialScale > 1 && p.InitialScale > p.MinScale:
		return p.InitialScale, model.ReasonInitialScale
	}
	return max(0, p.MinScale), model.ReasonMinScale
}

// bound applies the bounds. An unknown count stays unknown, unless the revision is being activated.
func (s *State) bound(p *model.Scaling, o *Observation, want int, d *model.Decision) int {
	if want == model.UnknownReplicas && s.phase != activating {
		return want
	}
	least, reason := s.floor(p, o)
	switch {
	case want < least:
		if least > 0 {
			d.Reason = reason
		}
		return least
	case p.MaxScale > 0 && want > p.MaxScale:
		d.Reason = model.ReasonMaxScale
		return p.MaxScale
	}
	return want
}

// startFailed says that no replica became ready before the deadline. When no Route names the revision, replicas that fail get no
// further time.
func (s *State) startFailed(p *model.Scaling, o *Observation, now time.Time) bool {
	late := now.Sub(s.since) > p.ProgressDeadline+activationBuffer
	return s.phase == activating && o.Ready <= 0 && (late || o.Unreachable && o.Failing)
}

// toZero allows zero when it is safe (handleScaleToZero of kpa/scaler.go). It returns the count for the status, and whether the
// replicas should follow it now.
func (s *State) toZero(p *model.Scaling, o *Observation, now time.Time, want int, d *model.Decision) (int, bool) {
	if want != 0 {
		return want, true
	}
	if !p.ScaleToZero {
		d.Reason = model.ReasonScaleToZeroOff
		return 1, true
	}
	age := now.Sub(s.since)
	switch s.phase {
	case activating:
		if s.startFailed(p, o, now) {
			d.Reason = model.ReasonActivationTimeout
			return 0, true
		}
		d.Reason = model.ReasonActivating
		return model.UnknownReplicas, false
	case active:
		if age < p.StableWindow {
			d.Reason = model.ReasonRecentlyActive
			return 1, true
		}
		d.Reason = model.ReasonDeactivating
		return 0, false
	}
	if !d.Fresh && o.Replicas > 0 {
		d.Reason = model.ReasonNoData
		return 0, false
	}
	var may bool
	d.Reason, may = lastReplica(p, o, now, age)
	return 0, may
}

// lastReplica says whether the replicas of a revision that has been inactive for age may end, and why.
func lastReplica(p *model.Scaling, o *Observation, now time.Time, age time.Duration) (model.Reason, bool) {
	retention := p.Retention
	if o.Unreachable {
		retention = 0
	}
	switch {
	case o.BackedSince.IsZero():
		return model.ReasonNotBacked, false
	case age >= max(p.Grace, retention):
		return model.ReasonIdle, true
	case age < retention:
		return model.ReasonRetention, false
	case now.Sub(o.BackedSince) < p.Grace:
		return model.ReasonGrace, false
	}
	return model.ReasonIdle, true
}

// replicas returns how many to run: the wanted count, if it is to be applied, else those that run, within the bounds. A new revision
// begins with its initial scale.
func (s *State) replicas(p *model.Scaling, o *Observation, want int, apply bool) int {
	if apply && want != model.UnknownReplicas {
		return want
	}
	keep := max(0, o.Replicas)
	if s.phase == activating && !s.initialized {
		keep = max(keep, p.InitialScale)
	}
	least, _ := s.floor(p, o)
	keep = max(keep, least)
	if p.MaxScale > 0 {
		keep = min(keep, max(least, p.MaxScale))
	}
	return keep
}

// settle updates the phase and returns the condition Active (computeActiveCondition of kpa/kpa.go).
func (s *State) settle(p *model.Scaling, o *Observation, now time.Time, want int) model.Condition {
	least := 1
	if !o.Unreachable {
		least = max(1, p.MinScale)
	}
	if !s.initialized {
		least = p.InitialScale
		if !o.Unreachable {
			least = max(least, p.MinScale)
		}
	}
	s.initialized = s.initialized || o.Ready >= least
	switch {
	case want == 0 || least == 0:
		if s.phase == activating && least > 0 {
			s.failed = true
		}
		s.enter(inactive, now)
	case want <= 0 && s.phase == inactive:
	case o.Ready < least:
		s.failed = false
		s.enter(activating, now)
	default:
		s.failed = false
		s.enter(active, now)
	}
	return s.condition()
}

// condition returns the condition Active, with Knative's reasons and messages.
func (s *State) condition() model.Condition {
	c := model.Condition{Type: model.Active, Severity: model.SeverityInfo}
	switch {
	case s.phase == active:
		c.Status = model.True
	case s.phase == activating:
		c.Status, c.Reason = model.Unknown, "Queued"
		c.Message = "Requests to the target are being buffered as resources are provisioned."
	case s.failed:
		c.Status, c.Reason, c.Message = model.False, "TimedOut", "The target could not be activated."
	default:
		c.Status, c.Reason, c.Message = model.False, "NoTraffic", "The target is not receiving traffic."
	}
	return c
}
