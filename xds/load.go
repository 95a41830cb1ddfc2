package xds

import (
	"math"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"

	"sluice.dev/sluice/contract"
)

// LoadReport is what one client says of the load since it last said so.
type LoadReport struct {
	Role   uint8
	Client string // node id
	Stream uint64 // tells the streams of this server apart
	// Interval is what the report is about: of the first cluster that says, else the time since the last report.
	Interval time.Duration
	Clusters []ClusterLoad // may be empty: the client is there and has nothing to tell
	// Ended says that the stream is over, once and without clusters: what was in progress by its reports is unknown from now on.
	Ended bool
}

// ClusterLoad is the load of one cluster's endpoints in one zone, as one client sees it.
type ClusterLoad struct {
	Cluster, Zone string
	Interval      time.Duration // what Issued, Succeeded, Failed, Concurrency and Streams are of

	Issued, Succeeded, Failed uint64 // requests in the interval
	InProgress                uint64 // requests now

	Concurrency float64 // request-seconds in the interval, streams too
	Streams     float64 // stream-seconds in the interval: the part of Concurrency that is upgraded connections and gRPC calls
	Waiting     float64 // requests that wait now for an endpoint
	Averaged    bool    // Concurrency was told; Envoy and gRPC clients tell the counts alone
}

// Limits on what a report may say.
const (
	maxLoads     = 100_000 // clusters of a report
	maxZones     = 16      // zones of a cluster
	maxZone      = 256     // bytes of a zone's name
	maxFigure    = 1e9     // of any number; more makes no sense in an interval
	maxInterval  = time.Hour
	loadsASecond = 200 // reports of one stream, with bursts of twice that, before the client is made to wait
)

// loadReport reads a report. It leaves out, and counts, what makes no sense: a client may be wrong about one cluster and right
// about another. since is the time since the client's last report.
func loadReport(r *load_statsv3.LoadStatsRequest, since time.Duration) (report LoadReport, dropped int) {
	stats := r.GetClusterStats()
	if len(stats) > maxLoads {
		dropped = len(stats) - maxLoads
		stats = stats[:maxLoads]
	}
	if len(stats) > 0 {
		report.Clusters = make([]ClusterLoad, 0, len(stats))
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
		if name == "" || len(name) > maxName {
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

// intervalOf is the interval that a client gives with a cluster; 0 when there is none that makes sense.
func intervalOf(s *endpointv3.ClusterStats) time.Duration {
	d := s.GetLoadReportInterval()
	if d.CheckValid() != nil || d.AsDuration() <= 0 || d.AsDuration() > maxInterval {
		return 0
	}
	return d.AsDuration()
}

// clusterLoad reads the load of one locality, and says whether it makes sense.
func clusterLoad(l *endpointv3.UpstreamLocalityStats) (load ClusterLoad, ok bool) {
	load = ClusterLoad{
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
		}
	}
	counts := max(load.Issued, load.Succeeded, load.Failed, load.InProgress)
	ok = len(load.Zone) <= maxZone && counts <= maxFigure && sane(load.Concurrency) && sane(load.Streams) && sane(load.Waiting)
	return load, ok
}

func sane(f float64) bool { return !math.IsNaN(f) && f >= 0 && f <= maxFigure }

// merge adds a load to those of its cluster, which begin at first: clients tell each priority of a zone by itself.
func merge(loads []ClusterLoad, first int, load ClusterLoad) []ClusterLoad {
	for i := first; i < len(loads); i++ {
		if l := &loads[i]; l.Zone == load.Zone {
			l.Issued += load.Issued
			l.Succeeded += load.Succeeded
			l.Failed += load.Failed
			l.InProgress += load.InProgress
			l.Concurrency += load.Concurrency
			l.Streams += load.Streams
			l.Waiting += load.Waiting
			l.Averaged = l.Averaged || load.Averaged
			return loads
		}
	}
	return append(loads, load)
}
