package process

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// spared is the part of the bound of all replicas that is kept for the first ones of workloads: one that takes all that it can get
// does not keep the others asleep.
const spared = 10

// count is how many replicas exist, those that are being stopped among them.
func (r *Runtime) count() (n int) {
	for _, w := range r.workloads {
		n += len(w.slots)
	}
	return n
}

// hasRoom says whether one more replica may be started of a workload that has so many.
func (r *Runtime) hasRoom(has int) bool {
	most := r.opts.Replicas
	if has > 0 {
		most -= most / spared
	}
	return r.opts.Replicas == 0 || r.count() < most
}

// fill gives the room that there is to workloads that wait for it, those that have the least first.
func (r *Runtime) fill() {
	waiting := slices.DeleteFunc(slices.Collect(maps.Values(r.workloads)), func(w *workload) bool { return w.missing == 0 })
	slices.SortFunc(waiting, func(a, b *workload) int {
		return cmp.Or(
			cmp.Compare(a.spec.Replicas-a.missing, b.spec.Replicas-b.missing), a.asked.Compare(b.asked),
			cmp.Compare(a.spec.Revision.String(), b.spec.Revision.String()),
		)
	})
	for _, w := range waiting {
		r.scale(w, w.spec.Replicas)
	}
}

// short says that a workload has fewer replicas than it asks for.
func (r *Runtime) short(w *workload) string {
	if w.missing == 0 {
		return ""
	}
	return fmt.Sprintf("Revision %s has %d of the %d replicas that it needs: this machine runs %d of all revisions at most (--max-replicas), the last %d of them for revisions that have none.",
		w.spec.Revision, w.spec.Replicas-w.missing, w.spec.Replicas, r.opts.Replicas, r.opts.Replicas/spared)
}
