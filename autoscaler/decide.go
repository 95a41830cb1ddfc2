package autoscaler

import (
	"math"
	"time"

	"sluice.dev/sluice/model"
)

// Observation is what is known of a revision at one moment.
type Observation struct {
	// Samples are the load since the last decision, in any order.
	Samples []model.Sample
	// Quiet says that all sources of load are alive, so that no samples mean no load. Without it, no samples mean that the load
	// is unknown.
	Quiet bool
	// Replicas is how many are asked for now, Ready how many of them are ready.
	Replicas, Ready int
	// Unreachable says that no Route names the revision.
	Unreachable bool
	// Failing says that its replicas fail, and will go on failing.
	Failing bool
	// BackedSince is since when every client sends all requests of the revision to an activator: all of them have acknowledged
	// endpoints with one. It is zero when that is not so.
	BackedSince time.Time
	// Signals are the counts that other signals ask for.
	Signals []model.Proposal
}

// Decide records an observation and decides how many replicas should run. It takes ownership of the State.
//
// It goes in three steps, each as Knative does it: propose (scaling/autoscaler.go), bound, and scale to zero (kpa/scaler.go and
// kpa.go). Without data nothing ever scales down.
func Decide(p *model.Scaling, s State, o *Observation, now time.Time) (model.Decision, State) {
	seen := o
	o = s.observing(p, o, now)
	s.prepare(p, now)
	s.record(o.Samples, now)
	d := model.Decision{
		Via: model.ViaActivator, Metric: p.Metric, Ready: max(0, o.Ready),
		Target: target(p), Desired: model.UnknownReplicas,
	}
	if !s.stable.empty(now.Unix()) || o.Quiet {
		s.propose(p, o, now, &d)
	} else if d.Reason = model.ReasonNoData; !s.decided {
		s.excess = initialExcess(p)
	} else if s.startFailed(p, o, now) {
		s.desired = 0 // the requests that it was started for have timed out
	}
	if s.decided {
		d.Desired = s.desired
	}
	d.ExcessBurstCapacity, d.Panicking = s.excess, !s.panicTime.IsZero()

	want, apply := s.toZero(p, o, now, s.bound(p, o, s.compose(p, o, now, &d), &d), &d)
	d.Replicas = s.replicas(p, o, want, apply)
	d.Active = s.settle(p, o, now, want)
	d.Initialized = s.initialized
	if want > 0 && d.ExcessBurstCapacity >= 0 && d.Ready > 0 {
		d.Via = model.ViaReplicas
	}
	d.Activators = activators(p, d.Ready)
	s.observe(p, seen, &d)
	return d, s
}

// target returns a target that can be divided by, even of a policy that Policy did not make.
func target(p *model.Scaling) float64 {
	if p.Target >= minTarget {
		return p.Target
	}
	return minTarget
}

// propose computes the count that the load asks for, and the excess burst capacity.
func (s *State) propose(p *model.Scaling, o *Observation, now time.Time, d *model.Decision) {
	sec := now.Unix()
	if p.Aggregation == model.WeightedExponential {
		d.Stable, d.Panic = s.stable.weighted(sec), s.panicked.weighted(sec)
	} else {
		d.Stable, d.Panic = s.stable.linear(sec), s.panicked.linear(sec)
	}
	d.Fresh = true

	ready := math.Max(1, float64(d.Ready))
	// Rounding up lets a rate just over 1 grow by one replica at least; rounding down lets it shrink.
	most, least := math.Ceil(p.MaxScaleUpRate*ready), 0.
	if !o.Unreachable {
		least = math.Floor(ready / p.MaxScaleDownRate)
	}
	wantStable, wantPanic := math.Ceil(d.Stable/d.Target), math.Ceil(d.Panic/d.Target)
	stable, panicked := clamp(wantStable, least, most), clamp(wantPanic, least, most)
	d.Reason = rateReason(model.ReasonStable, wantStable, stable)
	panicReason := rateReason(model.ReasonPanic, wantPanic, panicked)
	if wantStable > 0 && p.ActivationScale > max(1, stable) {
		stable, d.Reason = p.ActivationScale, model.ReasonActivationScale
	}
	if wantPanic > 0 && p.ActivationScale > max(1, panicked) {
		panicked, panicReason = p.ActivationScale, model.ReasonActivationScale
	}

	switch {
	case wantPanic/ready >= p.PanicThreshold:
		s.panicTime = now
	case !s.panicTime.IsZero() && s.panicTime.Add(p.StableWindow).Before(now):
		// The surge has made its way into the stable window.
		s.panicTime, s.maxPanic = time.Time{}, 0
	}
	desired := s.panicking(stable, panicked, panicReason, d)
	s.desired, s.decided = s.delayed(p, o, sec, desired, d), true
	s.excess = excess(p, d)
}

// panicking returns the stable count, and in panic mode the largest count since panic mode began.
func (s *State) panicking(stable, panicked int, why model.Reason, d *model.Decision) int {
	if s.panicTime.IsZero() {
		return stable
	}
	desired := stable
	if desired < panicked {
		desired, d.Reason = panicked, why
	}
	if desired < s.maxPanic {
		d.Reason = model.ReasonPanicHold
	}
	s.maxPanic = max(s.maxPanic, desired)
	return s.maxPanic
}

// delayed returns the largest count of the scale-down delay.
func (s *State) delayed(p *model.Scaling, o *Observation, sec int64, desired int, d *model.Decision) int {
	if o.Unreachable || p.ScaleDownDelay <= 0 {
		return desired
	}
	size := math.Ceil(min(p.ScaleDownDelay, maxDelay).Seconds() / delayBucket)
	if most := s.delay.record(sec, int64(size), desired); most > desired {
		d.Reason = model.ReasonScaleDownDelay
		return most
	}
	return desired
}

// rateReason returns the reason of a count: the given one when it is the wanted count, else the rate that bounds it.
func rateReason(reason model.Reason, want float64, got int) model.Reason {
	switch {
	case want > float64(got):
		return model.ReasonScaleUpRate
	case want < float64(got):
		return model.ReasonScaleDownRate
	}
	return reason
}

// clamp bounds a count; the upper bound wins.
func clamp(v, least, most float64) int { return count(math.Min(math.Max(v, least), most)) }

// count converts a number to a count, within 32 bits as in Knative's API.
func count(v float64) int {
	if math.IsNaN(v) {
		return 0
	}
	return int(min(max(v, math.MinInt32), math.MaxInt32))
}

// excess is the load that the ready replicas could take at once beyond the target burst capacity. As in Knative it follows the
// load of the panic window.
func excess(p *model.Scaling, d *model.Decision) int {
	switch {
	case p.TargetBurstCapacity == 0:
		return 0
	case p.TargetBurstCapacity > 0:
		return count(math.Floor(float64(d.Ready)*p.Total - p.TargetBurstCapacity - d.Panic))
	}
	return -1
}

// initialExcess is the excess burst capacity before the first data (scaling/multiscaler.go).
func initialExcess(p *model.Scaling) int {
	if p.TargetBurstCapacity > 0 {
		return count(float64(p.InitialScale)*p.Total - p.TargetBurstCapacity)
	}
	return excess(p, &model.Decision{})
}

// minActivators is how many activators back a revision at least (kpa/kpa.go).
const minActivators = 2

func activators(p *model.Scaling, ready int) int {
	if p.TargetBurstCapacity == 0 {
		return minActivators
	}
	capacity := float64(ready)*p.Total + max(0, p.TargetBurstCapacity)
	return max(minActivators, count(math.Ceil(capacity/max(1, p.ActivatorCapacity))))
}
