package runner

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/event/task"
)

// stats are the counters of a Runner.
type stats struct {
	tries, ends, deliveries *prometheus.CounterVec
}

// The labels of the metrics.
const (
	labelNamespace = "namespace"
	labelRevision  = "revision"
)

func newStats() stats {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sluice", Subsystem: "tasks", Name: name, Help: help},
			[]string{labelNamespace, labelRevision, label})
	}
	return stats{
		tries:      counter("tries_total", "Tries of tasks, by how they ended: answered, failed or none (no answer).", "outcome"),
		ends:       counter("ended_total", "Tasks that ended, by their state: done, failed or cancelled.", "state"),
		deliveries: counter("deliveries_total", "Tries to deliver a callback or a dead letter, by what it was and how it ended.", "what"),
	}
}

// inc counts for a revision, namespace/name.
func inc(c *prometheus.CounterVec, revision, value string) {
	namespace, name, _ := strings.Cut(revision, "/")
	c.WithLabelValues(namespace, name, value).Inc()
}

func (s stats) try(revision string, result *task.Result, why string) {
	switch {
	case result == nil && why != "":
		inc(s.tries, revision, "none")
	case result != nil && result.Status >= 400:
		inc(s.tries, revision, "failed")
	default:
		inc(s.tries, revision, "answered")
	}
}

func (s stats) ended(t *task.Task) { inc(s.ends, t.Revision, string(t.State)) }

func (s stats) delivered(t *task.Task, letter bool, err error) {
	what := "callback"
	if letter {
		what = "dead letter"
	}
	if err != nil {
		what += " failed"
	}
	inc(s.deliveries, t.Revision, what)
}

var (
	depthMetric = description("waiting", "Tasks of a revision that wait, in the store and in the queue.", labelNamespace, labelRevision)
	runsMetric  = description("running", "Tasks of a revision that run, or wait for a free replica.", labelNamespace, labelRevision)
	ageMetric   = description("oldest_seconds", "Age of the oldest open task of a revision.", labelNamespace, labelRevision)
	bytesMetric = description("store_bytes", "Bytes in the store of tasks, by what they are: open or ended.", "what")
)

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("sluice", "tasks", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (r *Runner) Describe(out chan<- *prometheus.Desc) {
	for _, c := range []*prometheus.CounterVec{r.stats.tries, r.stats.ends, r.stats.deliveries} {
		c.Describe(out)
	}
	for _, d := range []*prometheus.Desc{depthMetric, runsMetric, ageMetric, bytesMetric} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (r *Runner) Collect(out chan<- prometheus.Metric) {
	for _, c := range []*prometheus.CounterVec{r.stats.tries, r.stats.ends, r.stats.deliveries} {
		c.Collect(out)
	}
	now := time.Now()
	for revision, d := range r.o.Store.Depths() {
		namespace, name, _ := strings.Cut(revision, "/")
		gauge := func(of *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, v, namespace, name)
		}
		gauge(depthMetric, float64(d.Waiting))
		gauge(runsMetric, float64(d.Running))
		gauge(ageMetric, max(0, now.Sub(d.Oldest).Seconds()))
	}
	usage := r.o.Store.Usage()
	out <- prometheus.MustNewConstMetric(bytesMetric, prometheus.GaugeValue, float64(usage.Bytes), "open")
	out <- prometheus.MustNewConstMetric(bytesMetric, prometheus.GaugeValue, float64(usage.ResultBytes), "ended")
}
