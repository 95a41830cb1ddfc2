package process

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// reserved is the part of the bound, a tenth, that is kept for workloads without a replica: a workload that takes as many
// replicas as it can must not keep others at zero.
const reserved = 10

// count is how many replicas exist, including those that are being stopped.
func (r *Runtime) count() (n int) {
	for _, w := range r.workloads {
		n += len(w.slots)
	}
	return n
}

// hasCapacity reports whether a workload that has so many replicas may start another.
func (r *Runtime) hasCapacity(has int) bool {
	most := r.opts.Replicas
	if has > 0 {
		most -= most / reserved
	}
	return r.opts.Replicas == 0 || r.count() < most
}

// fill starts replicas of workloads that have fewer than they need, those with the fewest first, while there is room.
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

// short is a sentence that a workload has fewer replicas than it needs; empty if it has enough.
func (r *Runtime) short(w *workload) string {
	if w.missing == 0 {
		return ""
	}
	return fmt.Sprintf("Revision %s has %d of the %d replicas that it needs: "+
		"this machine runs at most %d of all revisions (--max-replicas), and keeps the last %d for revisions that have none.",
		w.spec.Revision, w.spec.Replicas-w.missing, w.spec.Replicas, r.opts.Replicas, r.opts.Replicas/reserved)
}
