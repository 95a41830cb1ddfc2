package rollout

import (
	"cmp"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// DefaultProgressDeadline is how long a revision may take to become ready when it does not say, as in Knative's config-deployment.
const DefaultProgressDeadline = 600 * time.Second

// RevisionInput is what the conditions of a Revision depend on.
type RevisionInput struct {
	Revision *model.Revision
	// Workload is what the runtime reports, nil when it has not reported yet.
	Workload *model.WorkloadStatus
	// Replicas is how many are wanted.
	Replicas int
	// Decision is the autoscaler's newest, nil when there has been none.
	Decision *model.Decision
	// Blocked is why the revision cannot be given to the runtime at all; nil when it can.
	Blocked *model.Problem
	// Refused is what clients of the data plane refuse of it, nil when nothing. It is served as before, so it stays ready.
	Refused *model.Problem
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

// Revision plans the conditions of a Revision. Once it has been ready it stays so, also without replicas, until its
// replicas fail; even then one of ResourcesAvailable and ContainerHealthy stays True, which tells it from a revision that
// has never been ready.
func Revision(in RevisionInput) RevisionPlan {
	serving := in.Workload != nil && len(in.Workload.Ready) > 0
	plan := RevisionPlan{WasReady: in.initialized(serving) || in.Revision.WasReady}
	resources := model.Condition{Type: model.ResourcesAvailable, Status: model.Unknown, Reason: "Deploying"}
	container := model.Condition{Type: model.ContainerHealthy, Status: model.Unknown, Reason: "Deploying"}
	if plan.WasReady {
		resources = model.Condition{Type: model.ResourcesAvailable, Status: model.True}
		container = model.Condition{Type: model.ContainerHealthy, Status: model.True}
	}
	failure := in.failure()
	late := false
	switch {
	case serving:
	case failure != nil && containerFault(failure.Reason):
		container = model.Condition{Type: model.ContainerHealthy, Status: model.False, Reason: failure.Reason, Message: exitMessage(failure)}
	case failure != nil:
		resources = model.Condition{Type: model.ResourcesAvailable, Status: model.False, Reason: failure.Reason, Message: failure.Message}
	case plan.WasReady:
	case in.Replicas > 0:
		plan.Again, resources = in.awaited(resources)
		late = plan.Again == 0
	case in.givenUp():
		resources, container = in.whyGivenUp(resources, container)
	}
	if resources.Status == model.True {
		resources.Reason, resources.Message = in.remark()
	}
	plan.Conditions = Conclude(resources, container, in.active(serving, late))
	return plan
}

// awaited is for how long a revision that has not been ready yet is waited for, 0 when it is late, and what of its resources can be said.
func (in RevisionInput) awaited(resources model.Condition) (time.Duration, model.Condition) {
	left := in.Revision.Created.Add(cmp.Or(in.Revision.ProgressDeadline, DefaultProgressDeadline)).Sub(in.Now)
	if left <= 0 {
		return 0, neverAchieved
	}
	if short := in.short(); short != "" {
		resources.Reason, resources.Message = atCapacity, short
	}
	return left, resources
}

// neverAchieved is of a revision that did not become ready in time.
var neverAchieved = model.Condition{
	Type: model.ResourcesAvailable, Status: model.False, Reason: "ProgressDeadlineExceeded", Message: "Initial scale was never achieved",
}

// givenUp says that the revision has no replica any more because none became ready in time.
func (in RevisionInput) givenUp() bool {
	return in.Replicas == 0 && in.Decision != nil && in.Decision.Active.Status == model.False
}

// whyGivenUp are the conditions of a revision that was given up: what was wrong with its replicas, if that is known.
func (in RevisionInput) whyGivenUp(resources, container model.Condition) (_, _ model.Condition) {
	before := func(kind string) (model.Condition, bool) {
		c := model.FindCondition(in.Revision.Conditions, kind)
		return c, c.Status == model.False
	}
	said, known := before(model.ResourcesAvailable)
	if known {
		resources = said
	}
	if c, broken := before(model.ContainerHealthy); broken {
		return resources, c
	}
	if !known {
		resources = neverAchieved
	}
	return resources, container
}

// remark is what is to be said of a revision with which nothing is wrong.
func (in RevisionInput) remark() (reason, message string) {
	switch {
	case in.Refused != nil:
		return in.Refused.Reason, in.Refused.Message
	case in.short() != "":
		return atCapacity, in.short()
	case in.Workload != nil:
		return "", strings.Join(in.Workload.Notes, " ")
	}
	return "", ""
}

// atCapacity is the reason of a revision that has fewer replicas than it needs. Those that it has serve, so it stays ready.
const atCapacity = "AtCapacity"

func (in RevisionInput) short() string {
	if in.Workload == nil {
		return ""
	}
	return in.Workload.Short
}

// initialized says whether the revision has reached its initial scale, which may be zero.
func (in RevisionInput) initialized(serving bool) bool {
	if in.Decision == nil {
		return serving
	}
	return in.Decision.Initialized && (serving || in.Replicas == 0)
}

// failure is why replicas do not become ready, nil when nothing is known to be wrong.
func (in RevisionInput) failure() *model.Failure {
	switch {
	case in.Blocked != nil:
		return &model.Failure{Reason: in.Blocked.Reason, Message: in.Blocked.Message}
	case in.Workload != nil && in.Replicas > 0:
		return in.Workload.Failure
	}
	return nil
}

// containerFault says whether the fault is the container's own and not that of what it runs on.
func containerFault(reason string) bool {
	return reason == "ContainerMissing" || strings.HasPrefix(reason, "ExitCode")
}

func exitMessage(f *model.Failure) string {
	const prefix = "Container failed with: "
	switch {
	case f.Reason == "ExitCode0" && f.Message == "":
		return "container exited with no error"
	case strings.HasPrefix(f.Reason, "ExitCode") && !strings.HasPrefix(f.Message, prefix):
		return prefix + f.Message
	}
	return f.Message
}

// active tells how requests are met now; Ready does not depend on it.
func (in RevisionInput) active(serving, late bool) model.Condition {
	if in.Decision != nil {
		return in.Decision.Active
	}
	c := model.Condition{Type: model.Active, Status: model.Unknown, Severity: model.SeverityInfo}
	switch {
	case serving:
		c.Status = model.True
	case in.Replicas == 0:
		c.Status, c.Reason, c.Message = model.False, "NoTraffic", "The target is not receiving traffic."
	case late:
		c.Status, c.Reason, c.Message = model.False, "TimedOut", "The target could not be activated."
	default:
		c.Reason, c.Message = "Queued", "Requests to the target are being buffered as resources are provisioned."
	}
	return c
}
