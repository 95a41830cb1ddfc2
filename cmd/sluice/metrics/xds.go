package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// Delivery measures how long changes take to the data plane.
type Delivery struct {
	*prometheus.HistogramVec
	stopwatch *controlplane.Stopwatch
}

// NewDelivery makes a Delivery, which is a prometheus.Collector too.
func NewDelivery() *Delivery {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sluice_xds_acknowledgement_seconds",
		Help: "Time from a change's publication until all clients of the role that are waited for have acknowledged it.",
		// From what a client on the same machine takes to how long a silent client is waited for.
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"role"})
	return &Delivery{seconds, controlplane.NewStopwatch(func(role uint8, d time.Duration) {
		seconds.WithLabelValues(contract.RoleName(role)).Observe(d.Seconds())
	})}
}

// Timed wraps the function that publishes: its call is when the measurement of a change begins.
func (d *Delivery) Timed(publish func(resource.Update) uint64) func(resource.Update) uint64 {
	return func(u resource.Update) uint64 {
		from := time.Now()
		seq := publish(u)
		d.stopwatch.Published(u, seq, from)
		return seq
	}
}

// Progressed takes what clients have acknowledged.
func (d *Delivery) Progressed(p resource.Progress) { d.stopwatch.Progressed(p) }

// xdsCollector shows the counters of an xDS server. docs/xds.md has the names.
type xdsCollector struct{ stats func() xds.Stats }

// XDS collects the metrics of an xDS server from its counters.
func XDS(stats func() xds.Stats) prometheus.Collector { return xdsCollector{stats} }

// typeFigure is one metric of a resource type.
type typeFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(xds.TypeStats) float64
}

func ofType(name string, kind prometheus.ValueType, help string, of func(xds.TypeStats) float64) typeFigure {
	return typeFigure{prometheus.NewDesc("sluice_xds_"+name, help, []string{"type"}, nil), kind, of}
}

var typeFigures = []typeFigure{
	ofType("resources", prometheus.GaugeValue, "Resources that are offered; one that two roles may have counts twice.",
		func(t xds.TypeStats) float64 { return float64(t.Offered) }),
	ofType("rejected_resources", prometheus.GaugeValue,
		"Resources that connected clients reject now; one that clients of two roles reject counts twice.",
		func(t xds.TypeStats) float64 { return float64(t.Rejected) }),
	ofType("pushes_total", prometheus.CounterValue, "Responses sent.", func(t xds.TypeStats) float64 { return float64(t.Pushes) }),
	ofType("pushed_bytes_total", prometheus.CounterValue, "Bytes of resources sent.",
		func(t xds.TypeStats) float64 { return float64(t.Bytes) }),
	ofType("acks_total", prometheus.CounterValue, "Responses that clients acknowledged.",
		func(t xds.TypeStats) float64 { return float64(t.Acks) }),
	ofType("nacks_total", prometheus.CounterValue, "Responses that clients rejected.",
		func(t xds.TypeStats) float64 { return float64(t.Nacks) }),
}

var (
	xdsClients = prometheus.NewDesc("sluice_xds_clients",
		"Connected clients; one that has several streams counts with each.", []string{"role"}, nil)
	xdsSequence    = prometheus.NewDesc("sluice_xds_sequence", "Number of the newest state: of changes that were published.", nil, nil)
	xdsRequests    = prometheus.NewDesc("sluice_xds_requests_total", "Requests received, acknowledgements among them.", nil, nil)
	xdsLoadReports = prometheus.NewDesc("sluice_xds_load_reports_total", "Load reports received.", nil, nil)
	xdsDenied      = prometheus.NewDesc("sluice_xds_denied_total",
		"Streams that were turned away because of who the client is, by the role that it wanted.", []string{"role"}, nil)
	xdsLoadsDropped = prometheus.NewDesc("sluice_xds_loads_dropped_total",
		"Clusters and zones in load reports that made no sense.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c xdsCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range typeFigures {
		to <- f.desc
	}
	for _, d := range []*prometheus.Desc{xdsClients, xdsSequence, xdsRequests, xdsLoadReports, xdsLoadsDropped, xdsDenied} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c xdsCollector) Collect(to chan<- prometheus.Metric) {
	stats := c.stats()
	for name, t := range stats.Types {
		for _, f := range typeFigures {
			to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(t), name)
		}
	}
	for role, n := range stats.Streams {
		to <- prometheus.MustNewConstMetric(xdsClients, prometheus.GaugeValue, float64(n), role)
	}
	for role, n := range stats.Denied {
		to <- prometheus.MustNewConstMetric(xdsDenied, prometheus.CounterValue, float64(n), role)
	}
	to <- prometheus.MustNewConstMetric(xdsSequence, prometheus.GaugeValue, float64(stats.Seq))
	to <- prometheus.MustNewConstMetric(xdsRequests, prometheus.CounterValue, float64(stats.Requests))
	to <- prometheus.MustNewConstMetric(xdsLoadReports, prometheus.CounterValue, float64(stats.LoadReports))
	to <- prometheus.MustNewConstMetric(xdsLoadsDropped, prometheus.CounterValue, float64(stats.LoadsDropped))
}
