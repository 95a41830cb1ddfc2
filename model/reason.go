package model

import "fmt"

// Reason is why a Decision is what it is, in one word.
type Reason string

// The reasons of a Decision.
const (
	// ReasonNoData keeps the replicas, because the load is unknown.
	ReasonNoData Reason = "NoData"
	// ReasonStable and ReasonPanic follow the load of the window of that name.
	ReasonStable Reason = "Stable"
	ReasonPanic  Reason = "Panic"
	// ReasonPanicHold keeps the largest count since panic mode began.
	ReasonPanicHold Reason = "PanicHold"
	// ReasonScaleUpRate and ReasonScaleDownRate go as far as one step is allowed to.
	ReasonScaleUpRate   Reason = "ScaleUpRate"
	ReasonScaleDownRate Reason = "ScaleDownRate"
	// ReasonActivationScale starts with the least count from zero.
	ReasonActivationScale Reason = "ActivationScale"
	// ReasonScaleDownDelay keeps the largest count of the delay.
	ReasonScaleDownDelay Reason = "ScaleDownDelay"
	// ReasonSignal follows another signal.
	ReasonSignal Reason = "Signal"
	// ReasonMinScale, ReasonMaxScale and ReasonInitialScale are bounds.
	ReasonMinScale     Reason = "MinScale"
	ReasonMaxScale     Reason = "MaxScale"
	ReasonInitialScale Reason = "InitialScale"
	// ReasonScheduleMax is the bound of a schedule.
	ReasonScheduleMax Reason = "ScheduleMax"
	// ReasonScaleToZeroOff keeps one replica, since zero is not allowed.
	ReasonScaleToZeroOff Reason = "ScaleToZeroOff"
	// ReasonActivating waits for the first replica; ReasonActivationTimeout gives up on it.
	ReasonActivating        Reason = "Activating"
	ReasonActivationTimeout Reason = "ActivationTimeout"
	// ReasonRecentlyActive keeps one replica until the revision has been active for a stable window.
	ReasonRecentlyActive Reason = "RecentlyActive"
	// ReasonDeactivating makes the revision inactive; its replicas stay until requests go through the activator.
	ReasonDeactivating Reason = "Deactivating"
	// ReasonNotBacked waits until the activator backs the revision; ReasonGrace until it has done so for long enough.
	ReasonNotBacked Reason = "NotBacked"
	ReasonGrace     Reason = "Grace"
	// ReasonRetention keeps the last replica for its retention period.
	ReasonRetention Reason = "Retention"
	// ReasonIdle is zero: there is no load.
	ReasonIdle Reason = "Idle"
)

// sentences end the why of a Decision whose reason needs no figures.
var sentences = map[Reason]string{
	ReasonNoData:            "nothing is known of the load; missing data never scales down",
	ReasonPanicHold:         "panic mode never scales down",
	ReasonScaleUpRate:       "one step may not scale up further (max-scale-up-rate)",
	ReasonScaleDownRate:     "one step may not scale down further (max-scale-down-rate)",
	ReasonActivationScale:   "a start from zero begins with activation-scale",
	ReasonScaleDownDelay:    "as many were needed within scale-down-delay, more than now",
	ReasonMinScale:          "min-scale asks for them",
	ReasonMaxScale:          "max-scale allows no more",
	ReasonInitialScale:      "a new revision begins with initial-scale",
	ReasonScaleToZeroOff:    "there is no load, but enable-scale-to-zero is false",
	ReasonActivating:        "the revision is being activated",
	ReasonActivationTimeout: "the revision did not become ready in time",
	ReasonRecentlyActive:    "there is no load, but the revision has not been active for a stable window yet",
	ReasonDeactivating:      "there is no load; requests go through the activator first",
	ReasonNotBacked:         "there is no load, but the activator does not back the revision yet",
	ReasonGrace:             "there is no load; the activator has not backed the revision for scale-to-zero-grace-period yet",
	ReasonRetention:         "there is no load; scale-to-zero-pod-retention-period is not over",
	ReasonIdle:              "there is no load, and the activator backs the revision",
}

// Asked says what the load and each signal beside it asked for, a sentence each. There are none when the load alone counts.
func (d Decision) Asked() []string {
	if len(d.Proposals) == 0 {
		return nil
	}
	load := fmt.Sprintf("the load (%s) asks for %d", d.Metric, d.Desired)
	if d.Desired == UnknownReplicas {
		load = "the load is not known"
	}
	all := []string{load}
	for _, p := range d.Proposals {
		if p.Replicas == UnknownReplicas {
			all = append(all, fmt.Sprintf("%s has no data, so what runs stays: %s", p.Signal, p.Why))
			continue
		}
		all = append(all, fmt.Sprintf("%s asks for %d: %s", p.Signal, p.Replicas, p.Why))
	}
	return all
}

// count says how many replicas there are to be.
func (d Decision) count() string {
	replicas := fmt.Sprintf("%d replicas", d.Replicas)
	if d.Replicas == 1 {
		replicas = "1 replica"
	}
	if d.Observing {
		return fmt.Sprintf("%s, unchanged while sluice.dev/scaling is observe; else %d", replicas, d.Would)
	}
	return replicas
}

// Why says in one sentence why the Decision is what it is. The sentence is made on demand, because most decisions change nothing.
func (d Decision) Why() string {
	load := fmt.Sprintf("%s %.3g (stable) and %.3g (panic) at a target of %.3g per replica, %d ready",
		d.Metric, d.Stable, d.Panic, d.Target, d.Ready)
	replicas := d.count()
	switch d.Reason {
	case ReasonStable, ReasonPanic:
		return fmt.Sprintf("%s: %s", replicas, load)
	case ReasonSignal:
		return fmt.Sprintf("%s: %s asks for %d: %s", replicas, d.Signal.Signal, d.Signal.Replicas, d.Signal.Why)
	}
	if d.Reason == ReasonScheduleMax {
		return fmt.Sprintf("%s: %s allows no more: %s", replicas, d.Limit.Signal, d.Limit.Why)
	}
	if d.Reason == ReasonMaxScale && d.Signal.Why != "" {
		return fmt.Sprintf("%s: %s; %s asks for %d: %s", replicas, sentences[d.Reason], d.Signal.Signal, d.Signal.Replicas, d.Signal.Why)
	}
	if d.Fresh {
		return fmt.Sprintf("%s: %s; %s", replicas, sentences[d.Reason], load)
	}
	return fmt.Sprintf("%s: %s", replicas, sentences[d.Reason])
}
