package activator

import (
	"context"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
	"sluice.dev/sluice/xds/client"
)

const (
	// waitingInterval is how often load is reported while any request waits; otherwise it is as often as the control plane asks.
	waitingInterval = dispatch.NotifyPause
	// urgentInterval bounds how often it is reported because requests begin to wait for more and more revisions.
	urgentInterval = time.Millisecond
)

// reportSoon asks for a report at once. It never blocks.
func (a *Activator) reportSoon() {
	select {
	case a.reportNow <- struct{}{}:
	default:
	}
}

// reportLoads asks for a load report at once when requests begin to wait, every waitingInterval while they do, and once more when none does
// any more: until the next report, the control plane takes what waited for present. At rest it does nothing. A request that begins to
// wait more than dispatch.NotifyPause after the last one asks for a report, and until then the timer runs.
func (a *Activator) reportLoads(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	waited := false // at the last report
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.reportNow:
			waited = true
			a.client.ReportLoad()
			if !sleep(ctx, urgentInterval) {
				return
			}
		case <-timer.C:
			waiting := a.pending.Waiting() > 0
			if !waiting && !waited {
				continue
			}
			a.client.ReportLoad()
			waited = waiting
		}
		timer.Reset(waitingInterval)
	}
}

// sleep waits, and reports false if ctx ends meanwhile.
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

// load returns the load of every revision since the last report. A revision whose load has ended is in one more report.
func (a *Activator) load() []client.ClusterLoad {
	var all []client.ClusterLoad
	for r := range a.revisions.all() {
		taken, inFlight, waiting := r.TakeLoad()
		if taken == (dispatch.Load{}) && inFlight == 0 {
			continue
		}
		all = append(all, client.ClusterLoad{
			Cluster: r.label, Zone: contract.ZonePods,
			Issued: taken.Issued, Succeeded: taken.Succeeded, Failed: taken.Failed,
			InProgress:  uint64(inFlight), //nolint:gosec // it is never negative
			Concurrency: taken.Concurrency, Streams: taken.Streams, Waiting: float64(waiting),
		})
	}
	return all
}
