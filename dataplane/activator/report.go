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
	// taskInterval bounds how often it is reported because tasks begin to wait, of which each may need a replica of its own.
	taskInterval = 10 * time.Millisecond
)

// reportSoon asks for a report at once. It never blocks.
func (a *Activator) reportSoon() { put(a.reportNow) }

// reportTasksSoon asks for a report within taskInterval. It never blocks.
func (a *Activator) reportTasksSoon() { put(a.taskWaits) }

func put(token chan struct{}) {
	select {
	case token <- struct{}{}:
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
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.reportNow:
			waited, last = true, time.Now()
			a.client.ReportLoad()
			if !sleep(ctx, urgentInterval) {
				return
			}
		case <-a.taskWaits:
			waited = true
			timer.Reset(taskInterval - time.Since(last))
			continue
		case <-timer.C:
			waiting := a.pending.Waiting() > 0
			if !waiting && !waited {
				continue
			}
			a.client.ReportLoad()
			waited, last = waiting, time.Now()
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
	now := time.Now()
	var backlog map[string]int
	if a.opts.Backlog != nil {
		backlog = a.opts.Backlog()
	}
	for r := range a.revisions.all() {
		taken, inFlight, waiting := r.TakeLoad()
		waiting += backlog[r.label]
		if taken == (dispatch.Load{}) && inFlight == 0 && waiting == 0 {
			continue
		}
		oldest := 0.
		if waiting > 0 {
			oldest = r.Oldest(now).Seconds()
		}
		all = append(all, client.ClusterLoad{
			Cluster: r.label, Zone: contract.ZonePods,
			Issued: taken.Issued, Succeeded: taken.Succeeded, Failed: taken.Failed,
			InProgress:  uint64(inFlight), //nolint:gosec // it is never negative
			Concurrency: taken.Concurrency, Streams: taken.Streams, Waiting: float64(waiting), Oldest: oldest,
		})
	}
	return all
}
