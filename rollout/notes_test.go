package rollout_test

import (
	"testing"

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

func TestRefusedRevisionStaysReadyAndSaysSo(t *testing.T) {
	refused := &model.Problem{Reason: model.ResourceRefused, Message: "1 of 2 gateways refuse it"}
	for name, in := range map[string]rollout.RevisionInput{
		"serving": {Replicas: 1, Workload: &model.WorkloadStatus{Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}},
		"asleep":  {Workload: &model.WorkloadStatus{}},
	} {
		in.Revision, in.Refused = &model.Revision{WasReady: true}, refused
		conditions := rollout.Revision(in).Conditions
		if c := model.FindCondition(conditions, model.Ready); c.Status != model.True || c.Reason != "" {
			t.Errorf("%s: Ready is %+v: what was before is served still", name, c)
		}
		if c := model.FindCondition(conditions, model.ResourcesAvailable); c.Status != model.True || c.Reason != refused.Reason || c.Message != refused.Message {
			t.Errorf("%s: ResourcesAvailable is %+v, want the refusal's words", name, c)
		}
	}
}
