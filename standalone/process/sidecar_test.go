package process_test

import (
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// TestReplicaWhoseSidecarDiesIsNeverReady, although its serving container is ready at once each time.
func TestReplicaWhoseSidecarDiesIsNeverReady(t *testing.T) {
	m := newMachine(t, process.Options{Settle: time.Hour})
	w := app("serve", 1)
	w.Containers = append(w.Containers, model.Container{
		Name: "sidecar", Command: []string{"sh", "-c", "sleep 0.2; exit 3"},
	})
	m.Run(w)
	m.await("it has failed often enough", func(s model.WorkloadStatus) bool {
		if len(s.Ready) > 0 {
			t.Fatal("it was ready")
		}
		return s.Failure != nil && s.Failure.Lasting && s.Failure.Reason == "ExitCode3"
	})
}

// TestSidecarHoldsUpNoReplicaOfARevisionThatWasReady: only replicas of new revisions wait for Options.Settle, which never ends here.
func TestSidecarHoldsUpNoReplicaOfARevisionThatWasReady(t *testing.T) {
	m := newMachine(t, process.Options{Settle: time.Hour})
	w := app("serve", 1)
	w.Containers = append(w.Containers, model.Container{
		Name: "sidecar", Command: []string{"sleep", "3600"}, Readiness: &model.Probe{Exec: []string{"true"}},
	})
	m.Run(w)
	m.awaitReady(1)
	w.Replicas = 0
	m.Run(w)
	m.await("it has ended", func(s model.WorkloadStatus) bool { return s.Running == 0 })
	w.Containers = slices.Clone(w.Containers)
	w.Replicas, w.Containers[1].Readiness = 3, nil
	m.Run(w)
	m.awaitReady(3)
}
