package activator

import (
	"context"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/client"
)

const (
	// waitingInterval is how often load is reported while any request waits; otherwise it is as often as the control plane asks.
	waitingInterval = urgePause
	// urgentInterval bounds how often it is reported because requests begin to wait for ever more revisions.
	urgentInterval = time.Millisecond
)

// reportSoon asks for a report at once. It never blocks.
func (a *Activator) reportSoon() {
	select {
	case a.urge <- struct{}{}:
	default:
	}
}

// reportLoads has load reported at once when requests begin to wait, often while they do, and once more when none does any more:
// what waited counts as if it had been there all the time, until the next report. At rest it does nothing: who begins to wait later
// than urgePause after the last urge is an urge, and until then it looks.
func (a *Activator) reportLoads(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	waited := false // at the last report
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.urge:
			waited = true
			a.client.ReportLoad()
			if !sleep(ctx, urgentInterval) {
				return
			}
		case <-timer.C:
			waiting := a.waiting.waiting.Load() > 0
			if !waiting && !waited {
				continue
			}
			a.client.ReportLoad()
			waited = waiting
		}
		timer.Reset(waitingInterval)
	}
}

// sleep waits and reports false when ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// load is what every revision had to do since the last report. One that has nothing to do any more is in one more report.
func (a *Activator) load() []client.ClusterLoad {
	var all []client.ClusterLoad
	for r := range a.revisions.all() {
		taken, inFlight, waiting := r.report()
		if taken == (load{}) && inFlight == 0 {
			continue
		}
		all = append(all, client.ClusterLoad{
			Cluster: r.label, Zone: contract.ZonePods,
			Issued: taken.issued, Succeeded: taken.succeeded, Failed: taken.failed,
			InProgress:  uint64(inFlight), //nolint:gosec // it is never negative
			Concurrency: taken.concurrency, Streams: taken.streams, Waiting: float64(waiting),
		})
	}
	return all
}
