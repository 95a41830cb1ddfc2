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
