package rollout

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func TestRevision(t *testing.T) {
	serving := &model.WorkloadStatus{Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}, Running: 1}
	starting := &model.WorkloadStatus{Running: 1}
	failing := func(reason, message string) *model.WorkloadStatus {
		return &model.WorkloadStatus{Failure: &model.Failure{Reason: reason, Message: message}}
	}
	queued := model.Condition{
		Status: model.Unknown, Reason: "Queued", Message: "Requests to the target are being buffered as resources are provisioned.",
	}
	idle := model.Condition{Status: model.False, Reason: "NoTraffic", Message: "The target is not receiving traffic."}
	deploying := model.Condition{Status: model.Unknown, Reason: "Deploying"}
	yes := model.Condition{Status: model.True}
	for name, c := range map[string]struct {
		was                          bool
		workload                     *model.WorkloadStatus
		replicas                     int
		after                        time.Duration
		resources, container, active model.Condition
		ready                        model.Status
		again                        time.Duration
	}{
		"is being deployed": {false, nil, 1, time.Minute, deploying, deploying, queued, model.Unknown, 9 * time.Minute},
		"has replicas to come": {false, starting, 1, time.Minute, deploying, deploying, queued, model.Unknown,
			9 * time.Minute},
		"serves": {false, serving, 1, time.Hour, yes, yes, yes, model.True, 0},
		"took too long": {false, starting, 1, 10 * time.Minute,
			model.Condition{Status: model.False, Reason: "ProgressDeadlineExceeded", Message: "Initial scale was never achieved"},
			deploying, model.Condition{Status: model.False, Reason: "TimedOut", Message: "The target could not be activated."}, model.False,
			0},
		"stays ready at zero":         {true, &model.WorkloadStatus{}, 0, time.Hour, yes, yes, idle, model.True, 0},
		"stays ready on its way back": {true, starting, 1, time.Hour, yes, yes, queued, model.True, 0},
		"exits": {false, failing("ExitCode1", "boom"), 1, time.Minute, deploying,
			model.Condition{Status: model.False, Reason: "ExitCode1", Message: "Container failed with: boom"}, queued, model.False, 0},
		"exits with no error": {false, failing("ExitCode0", ""), 1, time.Minute, deploying,
			model.Condition{Status: model.False, Reason: "ExitCode0", Message: "container exited with no error"}, queued, model.False, 0},
		"has no image": {false, failing("ContainerMissing", "no such file"), 1, time.Minute, deploying,
			model.Condition{Status: model.False, Reason: "ContainerMissing", Message: "no such file"}, queued, model.False, 0},
		"cannot be placed": {false, failing("Unschedulable", "no room"), 1, time.Minute,
			model.Condition{Status: model.False, Reason: "Unschedulable", Message: "no room"}, deploying, queued, model.False, 0},
		"fails after it was ready": {true, failing("ExitCode2", "boom"), 1, time.Hour, yes,
			model.Condition{Status: model.False, Reason: "ExitCode2", Message: "Container failed with: boom"}, queued, model.False, 0},
		"an old failure does not count at zero": {true, failing("ExitCode2", "boom"), 0, time.Hour, yes, yes, idle, model.True, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := rev("hello-00001", 1, model.Unknown)
			r.WasReady = c.was
			plan := Revision(RevisionInput{Revision: r, Workload: c.workload, Replicas: c.replicas, Now: epoch.Add(c.after)})
			says(t, plan.Conditions, model.ResourcesAvailable, c.resources.Status, c.resources.Reason, c.resources.Message)
			says(t, plan.Conditions, model.ContainerHealthy, c.container.Status, c.container.Reason, c.container.Message)
			says(t, plan.Conditions, model.Active, c.active.Status, c.active.Reason, c.active.Message)
			if got := model.FindCondition(plan.Conditions, model.Ready).Status; got != c.ready {
				t.Errorf("Ready = %s, want %s", got, c.ready)
			}
			if plan.Again != c.again {
				t.Errorf("Again = %s, want %s", plan.Again, c.again)
			}
			// The status itself tells whether it has been ready: crds/convert relies on it.
			distinguishable := model.FindCondition(plan.Conditions, model.ResourcesAvailable).Status == model.True ||
				model.FindCondition(plan.Conditions, model.ContainerHealthy).Status == model.True
			if distinguishable != plan.WasReady {
				t.Errorf("whether the conditions show that it was ready is %t, want %t", distinguishable, plan.WasReady)
			}
		})
	}
}

func TestProgressDeadlineOfTheInstallation(t *testing.T) {
	for name, c := range map[string]struct {
		own, installation time.Duration
		reason            string
	}{
		"Knative's":        {0, 0, "Deploying"},
		"is over":          {0, time.Minute, "ProgressDeadlineExceeded"},
		"is not over":      {0, time.Hour, "Deploying"},
		"its own is later": {time.Hour, time.Minute, "Deploying"},
	} {
		plan := Revision(RevisionInput{
			Revision: &model.Revision{Created: epoch, ProgressDeadline: c.own}, ProgressDeadline: c.installation, Replicas: 1,
			Workload: &model.WorkloadStatus{Running: 1}, Now: epoch.Add(2 * time.Minute),
		})
		if got := model.FindCondition(plan.Conditions, model.ResourcesAvailable).Reason; got != c.reason {
			t.Errorf("%s: reason %q, want %q", name, got, c.reason)
		}
	}
}

// The autoscaler has taken the last replica of a revision that has never been ready.
func TestRevisionThatWasGivenUpSaysWhy(t *testing.T) {
	late := model.Condition{Status: model.False, Reason: "ProgressDeadlineExceeded", Message: "Initial scale was never achieved"}
	deploying := model.Condition{Status: model.Unknown, Reason: "Deploying"}
	exits := model.Condition{Status: model.False, Reason: "ExitCode1", Message: "Container failed with: boom"}
	for name, c := range map[string]struct{ resources, container, wantResources model.Condition }{
		"started slowly": {deploying, deploying, late},
		"was late":       {late, deploying, late},
		"exited":         {deploying, exits, deploying},
	} {
		t.Run(name, func(t *testing.T) {
			r := rev("hello-00001", 1, model.Unknown)
			c.resources.Type, c.container.Type = model.ResourcesAvailable, model.ContainerHealthy
			r.Conditions = []model.Condition{c.resources, c.container}
			timedOut := model.Condition{Type: model.Active, Status: model.False, Severity: model.SeverityInfo, Reason: "TimedOut"}
			plan := Revision(RevisionInput{
				Revision: r, Workload: &model.WorkloadStatus{}, Decision: &model.Decision{Active: timedOut}, Now: epoch.Add(time.Hour),
			})
			says(t, plan.Conditions, model.ResourcesAvailable, c.wantResources.Status, c.wantResources.Reason, c.wantResources.Message)
			says(t, plan.Conditions, model.ContainerHealthy, c.container.Status, c.container.Reason, c.container.Message)
			if ready := model.FindCondition(plan.Conditions, model.Ready); ready.Status != model.False {
				t.Errorf("Ready = %s, want False", ready.Status)
			}
		})
	}
}

func TestBlockedRevision(t *testing.T) {
	p := model.Problem{Reason: "EnvUnavailable", Message: "kept in a Secret"}
	plan := Revision(RevisionInput{Revision: rev("hello-00001", 1, model.Unknown), Replicas: 1, Blocked: &p, Now: epoch})
	says(t, plan.Conditions, model.Ready, model.False, "EnvUnavailable", "kept in a Secret")
}

func TestRevisionWhoseImagesAreBeingResolved(t *testing.T) {
	r := rev("hello-00001", 1, model.Unknown)
	asleep := &model.Decision{
		Initialized: true, Active: model.Condition{Type: model.Active, Status: model.False, Severity: model.SeverityInfo},
	}
	plan := Revision(RevisionInput{Revision: r, Resolving: true, Decision: asleep, Now: epoch})
	says(t, plan.Conditions, model.ResourcesAvailable, model.Unknown, "ResolvingDigests", "")
	if plan.WasReady {
		t.Error("a revision with an initial scale of 0 is ready although its images are not known")
	}
	missing := &model.Problem{Reason: "ContainerMissing", Message: `Unable to fetch image "none": it is not there`}
	plan = Revision(RevisionInput{Revision: r, Resolving: true, Blocked: missing, Decision: asleep, Now: epoch})
	says(t, plan.Conditions, model.ContainerHealthy, model.False, missing.Reason, missing.Message)
	says(t, plan.Conditions, model.Ready, model.False, missing.Reason, missing.Message)
}
