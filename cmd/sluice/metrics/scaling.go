// Package metrics shows on /metrics what the parts of a `sluice up` count. It must not know who serves the page.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/model"
)

// snapshotPatience bounds how long a scrape waits for the autoscaler.
const snapshotPatience = 2 * time.Second

// scaling shows the newest decision of each revision. docs/scaling.md has the names.
type scaling struct {
	rows func(context.Context) []loop.Row
}

// Scaling collects the metrics of the autoscaler's loop from a snapshot of its rows.
func Scaling(snapshot func(context.Context) []loop.Row) prometheus.Collector {
	return scaling{snapshot}
}

// figure is one metric of a revision.
type figure struct {
	desc *prometheus.Desc
	of   func(loop.Row) float64
}

func newFigure(name, help string, of func(loop.Row) float64) figure {
	return figure{prometheus.NewDesc("sluice_autoscaler_"+name, help, []string{"namespace", "revision"}, nil), of}
}

var figures = []figure{
	newFigure("desired_replicas", "Replicas that should run.", func(r loop.Row) float64 { return float64(r.Decision.Replicas) }),
	newFigure("wanted_replicas", "Replicas that the decision asks for, also where sluice.dev/scaling keeps others.", wanted),
	newFigure("ready_replicas", "Replicas that are ready.", func(r loop.Row) float64 { return float64(r.Ready) }),
	newFigure("stable_value", "Load by the stable window: requests in flight, or requests a second.",
		func(r loop.Row) float64 { return r.Decision.Stable }),
	newFigure("panic_value", "Load by the panic window, in the same unit.", func(r loop.Row) float64 { return r.Decision.Panic }),
	newFigure("target_value", "Load that one replica should have, in the same unit.", func(r loop.Row) float64 {
		return r.Decision.Target
	}),
	newFigure("panic_mode", "1 in panic mode, else 0.", func(r loop.Row) float64 { return truth(r.Decision.Panicking) }),
	newFigure("excess_burst_capacity",
		"Load that would find room at once beyond the target burst capacity; negative when there is too little.",
		func(r loop.Row) float64 { return float64(r.Decision.ExcessBurstCapacity) }),
	newFigure("by_activator", "1 while requests go through activators, else 0.",
		func(r loop.Row) float64 { return truth(r.Decision.Via == model.ViaActivator) }),
}

// signal is what each signal beside the load asks for.
var signal = prometheus.NewDesc("sluice_autoscaler_signal_replicas", "Replicas that a signal beside the load asks for; none without data.",
	[]string{"namespace", "revision", "signal"}, nil)

func wanted(r loop.Row) float64 {
	if r.Decision.Observing {
		return float64(r.Decision.Would)
	}
	return float64(r.Decision.Replicas)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (s scaling) Describe(to chan<- *prometheus.Desc) {
	for _, f := range figures {
		to <- f.desc
	}
	to <- signal
}

// Collect implements prometheus.Collector. It leaves out revisions that sleep, whose figures are zeros.
func (s scaling) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), snapshotPatience)
	defer cancel()
	for _, row := range s.rows(ctx) {
		if row.Decision.Replicas == 0 && row.Ready == 0 && row.Decision.Active.Status == model.False {
			continue
		}
		for _, f := range figures {
			to <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, f.of(row), row.Revision.Namespace, row.Revision.Name)
		}
		for _, p := range row.Proposals {
			if p.Replicas == model.UnknownReplicas {
				continue
			}
			to <- prometheus.MustNewConstMetric(signal, prometheus.GaugeValue, float64(p.Replicas),
				row.Revision.Namespace, row.Revision.Name, p.Signal)
		}
	}
}
