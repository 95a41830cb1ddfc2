package lrs

import (
	"math"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// Limits on what a report may say.
const (
	maxLoads    = 100_000 // clusters of a report
	maxZones    = 16      // zones of a cluster
	maxZone     = 256     // bytes of a zone's name
	maxFigure   = 1e9     // of any number; no client has more in an interval
	maxInterval = time.Hour
)

// read reads a report. It drops, and counts, clusters and zones with invalid numbers, and keeps the others. since is the time since
// the client's last report.
func read(r *load_statsv3.LoadStatsRequest, since time.Duration) (report resource.LoadReport, dropped int) {
	stats := r.GetClusterStats()
	if len(stats) > maxLoads {
		dropped = len(stats) - maxLoads
		stats = stats[:maxLoads]
	}
	if len(stats) > 0 {
		report.Clusters = make([]resource.ClusterLoad, 0, len(stats))
	}
	for _, s := range stats {
		interval := intervalOf(s)
		if report.Interval == 0 {
			report.Interval = interval
		}
		if interval == 0 {
			interval = since
		}
		name := s.GetClusterName()
		if name == "" || len(name) > resource.MaxName {
			dropped++
			continue
		}
		first := len(report.Clusters)
		for _, l := range s.GetUpstreamLocalityStats() {
			load, ok := clusterLoad(l)
			if !ok || len(report.Clusters)-first >= maxZones {
				dropped++
				continue
			}
			load.Cluster, load.Interval = name, interval
			report.Clusters = merge(report.Clusters, first, load)
		}
	}
	if report.Interval == 0 {
		report.Interval = since
	}
	return report, dropped
}

// intervalOf is the interval that a client gives with a cluster; 0 when it gives none that is valid.
func intervalOf(s *endpointv3.ClusterStats) time.Duration {
	d := s.GetLoadReportInterval()
	if d.CheckValid() != nil || d.AsDuration() <= 0 || d.AsDuration() > maxInterval {
		return 0
	}
	return d.AsDuration()
}

// clusterLoad reads the load of one locality. It is not ok if a number is invalid.
func clusterLoad(l *endpointv3.UpstreamLocalityStats) (load resource.ClusterLoad, ok bool) {
	load = resource.ClusterLoad{
		Zone:       l.GetLocality().GetZone(),
		Issued:     l.GetTotalIssuedRequests(),
		Succeeded:  l.GetTotalSuccessfulRequests(),
		Failed:     l.GetTotalErrorRequests(),
		InProgress: l.GetTotalRequestsInProgress(),
	}
	for _, m := range l.GetLoadMetricStats() {
		switch m.GetMetricName() {
		case contract.LoadConcurrency:
			load.Concurrency, load.Averaged = m.GetTotalMetricValue(), true
		case contract.LoadStreams:
			load.Streams = m.GetTotalMetricValue()
		case contract.LoadWaiting:
			load.Waiting = m.GetTotalMetricValue()
		case contract.LoadOldest:
			load.Oldest = m.GetTotalMetricValue()
		}
	}
	counts := max(load.Issued, load.Succeeded, load.Failed, load.InProgress)
	ok = len(load.Zone) <= maxZone && counts <= maxFigure
	return load, ok && plausible(load.Concurrency) && plausible(load.Streams) && plausible(load.Waiting) && plausible(load.Oldest)
}

func plausible(f float64) bool { return !math.IsNaN(f) && f >= 0 && f <= maxFigure }

// merge adds a load to those of its cluster, which begin at first. Clients report each priority of a zone by itself.
func merge(loads []resource.ClusterLoad, first int, load resource.ClusterLoad) []resource.ClusterLoad {
	for i := first; i < len(loads); i++ {
		if l := &loads[i]; l.Zone == load.Zone {
			l.Issued += load.Issued
			l.Succeeded += load.Succeeded
			l.Failed += load.Failed
			l.InProgress += load.InProgress
			l.Concurrency += load.Concurrency
			l.Streams += load.Streams
			l.Waiting += load.Waiting
			l.Oldest = max(l.Oldest, load.Oldest)
			l.Averaged = l.Averaged || load.Averaged
			return loads
		}
	}
	return append(loads, load)
}
