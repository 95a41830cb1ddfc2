package rollout_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func TestNotesOfARuntimeShowWithoutHarm(t *testing.T) {
	plan := rollout.Revision(rollout.RevisionInput{
		Revision: &model.Revision{}, Replicas: 1,
		Workload: &model.WorkloadStatus{Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}, Notes: []string{"Limits are not enforced."}},
	})
	for _, c := range plan.Conditions {
		if c.Type == model.ResourcesAvailable && c.Message != "Limits are not enforced." {
			t.Errorf("ResourcesAvailable says %q, want the note", c.Message)
		}
		if c.Status != model.True {
			t.Errorf("%s is %s: a note is no fault", c.Type, c.Status)
		}
		if c.Type == model.Ready && c.Message != "" {
			t.Errorf("Ready says %q", c.Message)
		}
	}
}

func TestRejectedRevisionStaysReadyAndSaysSo(t *testing.T) {
	rejected := &model.Problem{Reason: model.ResourceRejected, Message: "1 of 2 gateways reject it"}
	for name, in := range map[string]rollout.RevisionInput{
		"serving": {Replicas: 1, Workload: &model.WorkloadStatus{Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}},
		"asleep":  {Workload: &model.WorkloadStatus{}},
	} {
		in.Revision, in.Rejected = &model.Revision{WasReady: true}, rejected
		conditions := rollout.Revision(in).Conditions
		if c := model.FindCondition(conditions, model.Ready); c.Status != model.True || c.Reason != "" {
			t.Errorf("%s: Ready is %+v: what was before is served still", name, c)
		}
		if c := model.FindCondition(conditions, model.ResourcesAvailable); c.Status != model.True || c.Reason != rejected.Reason ||
			c.Message != rejected.Message {
			t.Errorf("%s: ResourcesAvailable is %+v, want the rejection's words", name, c)
		}
	}
}

func TestRevisionAtTheCapacityOfTheMachineSaysSoWithoutHarm(t *testing.T) {
	const short = "Revision default/hello-00001 has 1 of the 3 replicas that it needs."
	in := rollout.RevisionInput{
		Revision: &model.Revision{}, Replicas: 3,
		Workload: &model.WorkloadStatus{Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}, Short: short},
	}
	plan := rollout.Revision(in)
	if c := model.FindCondition(plan.Conditions, model.ResourcesAvailable); c.Status != model.True || c.Reason != "AtCapacity" ||
		c.Message != short {
		t.Errorf("ResourcesAvailable is %+v", c)
	}
	if c := model.FindCondition(plan.Conditions, model.Ready); c.Status != model.True {
		t.Errorf("Ready is %+v", c)
	}
	in.Workload.Ready, in.Revision.Created, in.Now = nil, time.Unix(1, 0), time.Unix(2, 0)
	if c := model.FindCondition(rollout.Revision(in).Conditions, model.ResourcesAvailable); c.Status != model.Unknown ||
		c.Reason != "AtCapacity" || c.Message != short {
		t.Errorf("ResourcesAvailable is %+v before there was a replica", c)
	}
}
