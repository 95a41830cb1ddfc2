// Package load turns what the data plane reports of its load into what the autoscaler takes: sums of an interval into means, clusters
// into revisions. It must not know what the autoscaler decides.
package load

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/resource"
)

// FromLRS is a load report of LRS in the autoscaler's terms. What a gateway sends to activators is left out: they report it themselves.
func FromLRS(r resource.LoadReport) loop.Report {
	out := loop.Report{
		Reporter: strconv.FormatUint(r.Stream, 10), Activator: r.Role == contract.RoleActivator, Ended: r.Ended,
		Loads: make([]loop.Load, 0, len(r.Clusters)), Over: r.Interval,
	}
	for _, c := range r.Clusters {
		revision, ok := revisionOf(c.Cluster)
		if !ok || !out.Activator && c.Zone != contract.ZonePods {
			continue
		}
		out.Loads = append(out.Loads, means(revision, c))
	}
	return out
}

// means divides the sums of a cluster by its interval.
func means(revision model.Key, c resource.ClusterLoad) loop.Load {
	l := loop.Load{
		Revision: revision, Waiting: c.Waiting, Concurrency: float64(c.InProgress), InFlight: float64(c.InProgress),
		Oldest: time.Duration(c.Oldest * float64(time.Second)),
	}
	seconds := c.Interval.Seconds()
	if seconds <= 0 {
		return l
	}
	l.Requests, l.Over = float64(c.Issued)/seconds, c.Interval
	if c.Averaged {
		l.Concurrency, l.Streams = c.Concurrency/seconds, c.Streams/seconds
	}
	if c.Waiting > 0 {
		// A waiting request stays until a replica serves it, so that it counts in full however late in the interval it came.
		l.Concurrency = max(l.Concurrency, float64(c.InProgress))
	}
	return l
}

// statsPeriod is how often the statistics of an Envoy are read.
const statsPeriod = time.Second

// PollStats reads the statistics of an Envoy that does not report its load over LRS, and reports them until ctx ends. It reports nothing
// while the Envoy does not answer.
func PollStats(ctx context.Context, address string, log hclog.Logger, report func(loop.Report)) {
	poller := envoy.NewStatsPoller(address)
	defer poller.Close()
	ticker := time.NewTicker(statsPeriod)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		loads, err := poller.Poll(ctx)
		if err != nil {
			if !failing && ctx.Err() == nil {
				log.Warn("cannot read the load; until it can be read, nothing that depends on it scales down",
					"--envoy-stats", address, "error", err)
			}
			failing = true
			continue
		}
		failing = false
		report(fromStats(address, loads))
	}
}

// fromStats is a report of statistics, which name no zones: its figures include requests to activators.
func fromStats(address string, loads []envoy.ClusterLoad) loop.Report {
	report := loop.Report{Reporter: "stats " + address, Whole: true}
	for _, c := range loads {
		revision, ok := revisionOf(c.Cluster)
		if ok && (c.Concurrency > 0 || c.Requests > 0) {
			report.Loads = append(report.Loads, loop.Load{Revision: revision, Concurrency: c.Concurrency, Requests: c.Requests})
		}
	}
	return report
}

// revisionOf reads the name of a revision's cluster.
func revisionOf(cluster string) (model.Key, bool) {
	namespace, name, ok := strings.Cut(cluster, "/")
	return model.Key{Namespace: namespace, Name: name}, ok
}
