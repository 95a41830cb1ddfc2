package process_test

import (
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// BenchmarkReplicaToReady measures the time from Run until Status reports the replica as ready, with an application that
// listens at once.
func BenchmarkReplicaToReady(b *testing.B) {
	m := newMachine(b, process.Options{Quiet: time.Millisecond})
	w := app("serve", 1)
	var took []time.Duration
	for b.Loop() {
		w.UID += "x"
		w.Replicas = 1
		start := time.Now()
		m.Run(w)
		m.await("ready", func(s model.WorkloadStatus) bool { return s.UID == w.UID && len(s.Ready) == 1 })
		took = append(took, time.Since(start))
		w.Replicas = 0
		m.Run(w)
		m.await("gone", func(s model.WorkloadStatus) bool { return s.UID == w.UID && s.Running == 0 })
		clear(m.latest)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
