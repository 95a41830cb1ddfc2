package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/model"
)

// showScaling adds to /metrics what autoscaler and activator know. docs/scaling.md has the names.
func (u *up) showScaling(l *loops, held *activator.Activator) {
	u.registry.MustRegister(scalingCollector{l.scale}, denied{l.xds})
	if held != nil {
		u.registry.MustRegister(held.Collector())
	}
}

// snapshotPatience bounds how long a scrape waits for the autoscaler.
const snapshotPatience = 2 * time.Second

// scalingCollector shows the newest decision of each revision.
type scalingCollector struct{ loop *loop.Loop }

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
	newFigure("ready_replicas", "Replicas that are ready.", func(r loop.Row) float64 { return float64(r.Ready) }),
	newFigure("stable_value", "Load by the stable window: requests in flight, or requests a second.", func(r loop.Row) float64 { return r.Decision.Stable }),
	newFigure("panic_value", "Load by the panic window, in the same unit.", func(r loop.Row) float64 { return r.Decision.Panic }),
	newFigure("target_value", "Load that one replica should have, in the same unit.", func(r loop.Row) float64 { return r.Decision.Target }),
	newFigure("panic_mode", "1 in panic mode, else 0.", func(r loop.Row) float64 { return truth(r.Decision.Panicking) }),
	newFigure("excess_burst_capacity", "Load that would find room at once beyond the target burst capacity; negative when there is too little.",
		func(r loop.Row) float64 { return float64(r.Decision.ExcessBurstCapacity) }),
	newFigure("by_activator", "1 while requests go through activators, else 0.", func(r loop.Row) float64 { return truth(r.Decision.Via == model.ViaActivator) }),
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe sends the descriptions of all figures.
func (c scalingCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range figures {
		to <- f.desc
	}
}

// Collect sends the figures of all revisions that run or are to run: those that sleep would only be many zeros.
func (c scalingCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), snapshotPatience)
	defer cancel()
	for _, row := range c.loop.Snapshot(ctx) {
		if row.Decision.Replicas == 0 && row.Ready == 0 && row.Decision.Active.Status == model.False {
			continue
		}
		for _, f := range figures {
			to <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, f.of(row), row.Revision.Namespace, row.Revision.Name)
		}
	}
}
