package activator

import "github.com/prometheus/client_golang/prometheus"

// The names of the metrics; Collector describes them.
var (
	inFlightDesc   = describe("requests_in_flight", "Requests that are held or being served, for revisions that have any.", "namespace_name", "revision_name")
	depthDesc      = describe("queue_depth", "Requests that wait for a slot of a replica, for revisions that have any in flight.", "namespace_name", "revision_name")
	revisionsDesc  = describe("revisions", "Revisions whose endpoints are followed.")
	dispatchedDesc = describe("dispatched_total", "Requests that a replica answered.")
	retriedDesc    = describe("retried_total", "Attempts that no replica received, after which another one followed.")
	refusedDesc    = describe("refused_total", "Requests that the activator answered itself, by the reason in its answer.", "reason")
	coldDesc       = describe("cold_starts_total", "Requests that waited for the first endpoint of their revision.")
	activateDesc   = describe("cold_start_seconds", "From the arrival of such a request to its connection to a replica.")
	partDesc       = describe("cold_start_part_seconds", "What that time was spent on: decide, start, ready, endpoints or dispatch.", "part")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_activator_"+name, help, labels, nil)
}

// Collector shows the Stats as Prometheus metrics, all of whose names begin with sluice_activator_.
func (a *Activator) Collector() prometheus.Collector { return collector{a} }

type collector struct{ activator *Activator }

// Describe names the metrics.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inFlightDesc, depthDesc, revisionsDesc, dispatchedDesc, retriedDesc, refusedDesc, coldDesc, activateDesc, partDesc} {
		to <- d
	}
}

// Collect reads them.
func (c collector) Collect(to chan<- prometheus.Metric) {
	s := c.activator.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, h := range s.Held {
		gauge(inFlightDesc, float64(h.InFlight), h.Namespace, h.Name)
		gauge(depthDesc, float64(h.Waiting), h.Namespace, h.Name)
	}
	gauge(revisionsDesc, float64(s.Revisions))
	counter(dispatchedDesc, s.Dispatched)
	counter(retriedDesc, s.Retried)
	for reason, n := range s.Refused {
		counter(refusedDesc, n, reason)
	}
	counter(coldDesc, s.ColdStarts)
	to <- s.Activate.metric(activateDesc)
	for name, h := range s.Parts {
		to <- h.metric(partDesc, name)
	}
}

func (h Histogram) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(Bounds))
	for i, bound := range Bounds {
		buckets[bound] = h.Cumulative[i]
	}
	return prometheus.MustNewConstHistogram(d, h.Count, h.Sum.Seconds(), buckets, labels...)
}
