package loop

import (
	"context"
	"sync"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

// usage is what the replicas of a revision use.
type usage struct {
	replicas []model.ReplicaUsage
	signals  autoscaler.Usage
	at       time.Time // when the figures came; zero before the first ones
}

// needsUsage says whether a revision is scaled on what its replicas use, as the loop measures it.
func (l *Loop) needsUsage(r *revision) bool {
	return r.policy.Class == autoscaler.HPA && !l.options.Platform || r.policy.CPU > 0 || r.policy.Memory > 0
}

// measure asks what the replicas of awake revisions use. While a round goes on, no other begins.
func (l *Loop) measure(ctx context.Context, running *sync.WaitGroup, now time.Time) {
	if l.options.Usage == nil || l.measuring || now.Sub(l.measured) < l.options.UsagePeriod {
		return
	}
	var revisions []model.Key
	for r := range l.awake {
		if l.needsUsage(r) {
			revisions = append(revisions, r.scaled.Revision)
		}
	}
	if len(revisions) == 0 {
		return
	}
	l.measuring, l.measured = true, now
	running.Go(func() {
		l.options.Usage(ctx, revisions, l.used)
		l.post(func(time.Time) { l.measuring = false })
	})
}

// used takes what the replicas of a revision use.
func (l *Loop) used(u model.Usage) {
	l.about(u.Revision, u.UID, func(r *revision, now time.Time) {
		r.usage.replicas, r.usage.at = u.Replicas, now
		r.usage.signals.Record(&r.policy, u.Replicas, now)
	})
}

// stale says that figures are too old to count.
func (l *Loop) stale(r *revision, now time.Time) bool {
	return r.usage.at.IsZero() || now.Sub(r.usage.at) > l.patience()
}

// patience is how long figures count.
func (l *Loop) patience() time.Duration { return 3 * l.options.UsagePeriod }
