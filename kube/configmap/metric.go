package configmap

import (
	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/config"
)

var invalid = prometheus.NewDesc("sluice_configmap_invalid",
	"1 while a ConfigMap of the configuration is wrong, and data before it are in force; else 0.", []string{"name"}, nil)

// Describe is for a registry of Prometheus.
func (w *Watcher) Describe(to chan<- *prometheus.Desc) { to <- invalid }

// Collect is for a registry of Prometheus.
func (w *Watcher) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range config.Names() {
		value := 0.0
		if w.states[name].wrong != "" {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(invalid, prometheus.GaugeValue, value, name)
	}
}
