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
	// Blocked is why the runtime cannot run the revision at all; nil when it can.
	Blocked *model.Problem
	// Resolving says that the digests of its images are not known yet, so that it does not run.
	Resolving bool
	// Rejected says which of its resources clients NACK; nil when none. They serve it as before, so it stays ready.
	Rejected *model.Problem
	// ProgressDeadline is that of Options.
	ProgressDeadline time.Duration
	Now              time.Time
}

// RevisionPlan is what should become of a Revision's status.
type RevisionPlan struct {
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// WasReady says that it is or has been ready; it never becomes false again.
	WasReady bool
	// Again is after what time the conditions may change without another event; 0 means never.
	Again time.Duration
}

// Revision plans the conditions of a Revision. Once ready, it stays ready, also without replicas, until its replicas fail. Even then one
// of ResourcesAvailable and ContainerHealthy stays True, which distinguishes it from a revision that has never been ready.
func Revision(in RevisionInput) RevisionPlan {
	serving := in.Workload != nil && len(in.Workload.Ready) > 0
	plan := RevisionPlan{WasReady: in.initialized(serving) || in.Revision.WasReady}
	resources, container := in.first(plan.WasReady)
	failure := in.failure()
	late := false
	switch {
	case serving:
	case failure != nil && containerFault(failure.Reason):
		container = model.Condition{
			Type: model.ContainerHealthy, Status: model.False, Reason: failure.Reason, Message: exitMessage(failure),
		}
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

// first returns ResourcesAvailable and ContainerHealthy of a revision about which nothing else is known.
func (in RevisionInput) first(ready bool) (resources, container model.Condition) {
	status, reasons := model.Unknown, [2]string{"Deploying", "Deploying"}
	if in.Resolving {
		reasons[0] = "ResolvingDigests"
	}
	if ready {
		status, reasons = model.True, [2]string{}
	}
	return model.Condition{Type: model.ResourcesAvailable, Status: status, Reason: reasons[0]},
		model.Condition{Type: model.ContainerHealthy, Status: status, Reason: reasons[1]}
}

// awaited returns how much longer a revision may take to become ready, 0 when its deadline is over, and its condition
// ResourcesAvailable.
func (in RevisionInput) awaited(resources model.Condition) (time.Duration, model.Condition) {
	left := in.Revision.Created.Add(cmp.Or(in.Revision.ProgressDeadline, in.ProgressDeadline, DefaultProgressDeadline)).Sub(in.Now)
	if left <= 0 {
		return 0, neverAchieved
	}
	if short := in.short(); short != "" {
		resources.Reason, resources.Message = atCapacity, short
	}
	return left, resources
}

// neverAchieved is the condition of a revision that did not become ready in time.
var neverAchieved = model.Condition{
	Type: model.ResourcesAvailable, Status: model.False, Reason: "ProgressDeadlineExceeded", Message: "Initial scale was never achieved",
}

// givenUp says that the revision has no replica any more because none became ready in time.
func (in RevisionInput) givenUp() bool {
	return in.Replicas == 0 && !in.Resolving && in.Decision != nil && in.Decision.Active.Status == model.False
}

// whyGivenUp returns the conditions of a revision that was given up: the failure of its replicas, if that is known.
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

// remark returns the reason and message of a revision that has no failure.
func (in RevisionInput) remark() (reason, message string) {
	switch {
	case in.Rejected != nil:
		return in.Rejected.Reason, in.Rejected.Message
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
	if in.Decision == nil || in.Resolving {
		return serving
	}
	return in.Decision.Initialized && (serving || in.Replicas == 0)
}

// failure returns why replicas do not become ready, nil when no failure is known.
func (in RevisionInput) failure() *model.Failure {
	switch {
	case in.Blocked != nil:
		return &model.Failure{Reason: in.Blocked.Reason, Message: in.Blocked.Message}
	case in.Workload != nil && in.Replicas > 0:
		return in.Workload.Failure
	}
	return nil
}

// containerFault says whether the container itself failed, and not its environment.
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

// active returns the condition Active, which Ready does not depend on.
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
