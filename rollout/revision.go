package rollout

import (
	"time"

	"sluice.dev/sluice/model"
)

// RevisionInput is what the conditions of a Revision depend on.
type RevisionInput struct {
	Revision *model.Revision
	// Workload is what the runtime reports, nil when it has not reported yet.
	Workload *model.WorkloadStatus
	// Replicas is how many are wanted.
	Replicas int
	// Blocked is why the revision cannot be given to the runtime at all; nil when it can.
	Blocked *model.Problem
	Now     time.Time
}

// RevisionPlan is what should become of a Revision's status.
type RevisionPlan struct {
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// WasReady says that it is ready or has been; it never goes back.
	WasReady bool
	// Again is after what time the conditions can change by themselves; 0 means never.
	Again time.Duration
}

// Revision plans the conditions of a Revision.
func Revision(in RevisionInput) RevisionPlan {
	return RevisionPlan{}
}
