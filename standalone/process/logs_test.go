package process_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// TestLogsAreRemovedAfterTheirRevision: the logs of a revision without replicas stay, and those of a revision that was deleted
// while no Runtime ran are removed.
func TestLogsAreRemovedAfterTheirRevision(t *testing.T) {
	dir := t.TempDir()
	folder := func(name string) string { return filepath.Join(dir, "logs", "default", name) }
	if err := os.MkdirAll(folder("before-00001"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, process.Options{Dir: dir, LogRetention: 100 * time.Millisecond})
	for _, name := range []string{"asleep-00001", "deleted-00001"} {
		w := named(name, 1)
		m.Run(w)
		m.await("it runs", func(s model.WorkloadStatus) bool { return s.UID == w.UID && len(s.Ready) == 1 })
		w.Replicas = 0
		m.Run(w)
		m.await("it has ended", func(s model.WorkloadStatus) bool { return s.UID == w.UID && s.Running == 0 })
	}
	m.Run(model.Workload{Revision: model.Key{Namespace: "default", Name: "deleted-00001"}})
	gone := func(name string) bool {
		_, err := os.Stat(folder(name))
		return os.IsNotExist(err)
	}
	eventually(t, "the logs of those that are gone are", func() bool { return gone("before-00001") && gone("deleted-00001") })
	if gone("asleep-00001") {
		t.Error("the logs of a revision without replicas are gone")
	}
}
