package process

import (
	"os"
	"path/filepath"
	"time"

	"sluice.dev/sluice/model"
)

// logFolder is where the logs of a revision are.
func (r *Runtime) logFolder(revision model.Key) string {
	return filepath.Join(r.opts.Dir, "logs", revision.Namespace, revision.Name)
}

// exists records whether a revision exists. A workload without an UID means that the revision was deleted.
func (r *Runtime) exists(spec model.Workload) {
	_, known := r.existing[spec.Revision]
	switch {
	case spec.UID == "":
		delete(r.existing, spec.Revision)
	case !known:
		r.existing[spec.Revision] = ""
	}
}

// recordReady records that a revision has been ready.
func (r *Runtime) recordReady(spec model.Workload) {
	if _, known := r.existing[spec.Revision]; known {
		r.existing[spec.Revision] = spec.UID
	}
}

// removeLogs removes the logs of deleted revisions that have written nothing for Options.LogRetention.
func (r *Runtime) removeLogs() {
	folders, _ := filepath.Glob(r.logFolder(model.Key{Namespace: "*", Name: "*"})) // the pattern is well-formed
	for _, folder := range folders {
		revision := model.Key{Namespace: filepath.Base(filepath.Dir(folder)), Name: filepath.Base(folder)}
		if _, exists := r.existing[revision]; exists || r.runs(revision) || time.Since(lastWritten(folder)) < r.opts.LogRetention {
			continue
		}
		if err := os.RemoveAll(folder); err != nil {
			r.opts.Logger.Warn("cannot remove the logs of a deleted revision", "folder", folder, "error", err)
			continue
		}
		r.opts.Logger.Debug("removed the logs of a deleted revision", "folder", folder)
		_ = os.Remove(filepath.Dir(folder)) // fails while the namespace has others
	}
}

// runs reports whether replicas of a revision run, which may write logs.
func (r *Runtime) runs(revision model.Key) bool {
	for id := range r.workloads {
		if id.revision == revision {
			return true
		}
	}
	return false
}

// lastWritten returns when a folder or a file in it was last written.
func lastWritten(folder string) (last time.Time) {
	files, _ := filepath.Glob(filepath.Join(folder, "*")) // the pattern is well-formed
	for _, path := range append(files, folder) {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
