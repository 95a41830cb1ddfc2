package activator

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are an activator's counters and histograms.
type metrics struct {
	dispatched, retried, handed, coldStarts prometheus.Counter
	refused                                 *prometheus.CounterVec // by reason
	coldStart                               prometheus.Histogram
	coldStartPart                           *prometheus.HistogramVec
	parts                                   [len(partNames)]prometheus.Observer // of coldStartPart, in order
}

// namespace and subsystem begin the name of each metric.
const (
	namespace = "sluice"
	subsystem = "activator"
)

// buckets are the upper bounds of the histograms, in seconds: cold starts take from a millisecond to a minute.
var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}
	}
	m := &metrics{
		dispatched: prometheus.NewCounter(counter("dispatched_total", "Requests that a replica answered.")),
		retried:    prometheus.NewCounter(counter("retried_total", "Attempts that no replica received, after which another one followed.")),
		handed:     prometheus.NewCounter(counter("handed_over_total", "Tasks that went to the owner of their revision.")),
		coldStarts: prometheus.NewCounter(counter("cold_starts_total", "Requests that waited for the first endpoint of their revision.")),
		refused: prometheus.NewCounterVec(counter("refused_total",
			"Requests that the activator answered itself, by the reason in its answer."),
			[]string{"reason"}),
		coldStart: prometheus.NewHistogram(histogram("cold_start_seconds",
			"From the arrival of such a request to its connection to a replica.")),
		coldStartPart: prometheus.NewHistogramVec(histogram("cold_start_part_seconds",
			"What that time was spent on: decide, start, ready, endpoints or dispatch."), []string{"part"}),
	}
	for i, name := range partNames {
		m.parts[i] = m.coldStartPart.WithLabelValues(name)
	}
	return m
}

func (m *metrics) observe(p parts) {
	m.coldStarts.Inc()
	m.coldStart.Observe(p.activate.Seconds())
	for i, d := range p.each {
		m.parts[i].Observe(d.Seconds())
	}
}

// The gauges, which are read when they are collected.
var (
	inFlightDesc = describe("requests_in_flight", "Requests that are held or being served, for revisions that have any.",
		"namespace_name", "revision_name")
	depthDesc = describe("queue_depth", "Requests that wait for a slot of a replica, for revisions that have any in flight.",
		"namespace_name", "revision_name")
	oldestDesc = describe("oldest_wait_seconds", "For how long the first of those requests has waited, for revisions with any.",
		"namespace_name", "revision_name")
	revisionsDesc = describe("revisions", "Revisions whose endpoints are followed.")
	droppedDesc   = describe("spans_dropped_total", "Spans of traces that were not sent to the collector.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// Collector returns the Prometheus metrics, all of whose names begin with sluice_activator_.
func (a *Activator) Collector() prometheus.Collector { return collector{a} }

type collector struct{ activator *Activator }

// all are the metrics that are kept.
func (c collector) all() []prometheus.Collector {
	m := c.activator.metrics
	return []prometheus.Collector{m.dispatched, m.retried, m.handed, m.coldStarts, m.refused, m.coldStart, m.coldStartPart}
}

// Describe names the metrics.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inFlightDesc, depthDesc, oldestDesc, revisionsDesc, droppedDesc} {
		to <- d
	}
	for _, m := range c.all() {
		m.Describe(to)
	}
}

// Collect reads them.
func (c collector) Collect(to chan<- prometheus.Metric) {
	s := c.activator.Stats()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for _, h := range s.Held {
		gauge(inFlightDesc, h.InFlight, h.Namespace, h.Name)
		gauge(depthDesc, h.Waiting, h.Namespace, h.Name)
		if h.Waiting > 0 {
			to <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, h.Oldest.Seconds(), h.Namespace, h.Name)
		}
	}
	gauge(revisionsDesc, s.Revisions)
	to <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(c.activator.tracer.Dropped()))
	for _, m := range c.all() {
		m.Collect(to)
	}
}

// Stats is the state of an activator at one moment.
type Stats struct {
	Connected bool           // the control plane has answered
	Draining  bool           // it is shutting down
	Revisions int            // whose endpoints are followed
	Held      []HeldRevision // those that have requests now, sorted by namespace and name
}

// HeldRevision is a revision with requests.
type HeldRevision struct {
	Namespace, Name   string
	InFlight, Waiting int // requests in flight, and those of them that wait for a slot
	// Oldest is for how long the first of those has waited.
	Oldest time.Duration
}

// Stats returns the state of this moment.
func (a *Activator) Stats() Stats {
	now := time.Now()
	s := Stats{Connected: a.answered.Load(), Draining: a.draining.Load(), Revisions: a.revisions.count()}
	for r := range a.revisions.all() {
		if inFlight, waiting := r.Counts(); inFlight > 0 {
			s.Held = append(s.Held, HeldRevision{r.name.namespace, r.name.name, inFlight, waiting, r.Oldest(now)})
		}
	}
	slices.SortFunc(s.Held, func(a, b HeldRevision) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return s
}
