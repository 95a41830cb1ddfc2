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

// exists takes note of whether there is a revision: the end of one is told by a workload without an UID.
func (r *Runtime) exists(spec model.Workload) {
	_, known := r.existing[spec.Revision]
	switch {
	case spec.UID == "":
		delete(r.existing, spec.Revision)
	case !known:
		r.existing[spec.Revision] = ""
	}
}

// proven takes note that a revision has been ready.
func (r *Runtime) proven(spec model.Workload) {
	if _, known := r.existing[spec.Revision]; known {
		r.existing[spec.Revision] = spec.UID
	}
}

// removeLogs removes the logs of revisions that are gone and have written nothing for as long as that is kept.
func (r *Runtime) removeLogs() {
	folders, _ := filepath.Glob(r.logFolder(model.Key{Namespace: "*", Name: "*"})) // the pattern is well-formed
	for _, folder := range folders {
		revision := model.Key{Namespace: filepath.Base(filepath.Dir(folder)), Name: filepath.Base(folder)}
		if _, exists := r.existing[revision]; exists || r.runs(revision) || time.Since(lastWritten(folder)) < r.opts.LogRetention {
			continue
		}
		if err := os.RemoveAll(folder); err != nil {
			r.opts.Logger.Warn("the logs of a revision that is gone cannot be removed", "folder", folder, "error", err)
			continue
		}
		r.opts.Logger.Debug("removed the logs of a revision that is gone", "folder", folder)
		_ = os.Remove(filepath.Dir(folder)) // which fails while there are others of the namespace
	}
}

// runs says whether something of a revision runs, and may write.
func (r *Runtime) runs(revision model.Key) bool {
	for id := range r.workloads {
		if id.revision == revision {
			return true
		}
	}
	return false
}

// lastWritten is when something in a folder was written last.
func lastWritten(folder string) (last time.Time) {
	files, _ := filepath.Glob(filepath.Join(folder, "*")) // the pattern is well-formed
	for _, path := range append(files, folder) {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
