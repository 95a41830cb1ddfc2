package process_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// named is a workload of another revision.
func named(name string, replicas int) model.Workload {
	w := app("serve", replicas)
	w.Revision.Name, w.UID = name, name
	return w
}

// TestReplicasHaveABound: the status of a workload that needs more replicas than there is room for says so. Another workload still
// gets its first replica.
func TestReplicasHaveABound(t *testing.T) {
	m := newMachine(t, process.Options{Replicas: 10})
	greedy, late := named("greedy-00001", 1000), named("late-00001", 2)
	m.Run(greedy)
	m.await("all but the reserved tenth", func(s model.WorkloadStatus) bool {
		return s.UID == greedy.UID && len(s.Ready) == 9 &&
			strings.Contains(s.Short, "has 9 of the 1000 replicas that it needs: this machine runs at most 10")
	})
	m.Run(late)
	m.await("the other has its first", func(s model.WorkloadStatus) bool {
		return s.UID == late.UID && len(s.Ready) == 1 && strings.Contains(s.Short, "has 1 of the 2 replicas")
	})
	if got := m.latest[greedy.UID]; len(got.Ready) != 9 {
		t.Errorf("the first has %d replicas after the other started", len(got.Ready))
	}
	greedy.Replicas = 3
	m.Run(greedy)
	m.await("the other gets the freed room", func(s model.WorkloadStatus) bool {
		return s.UID == late.UID && len(s.Ready) == 2 && s.Short == ""
	})
	m.await("the first has all that it needs", func(s model.WorkloadStatus) bool {
		return s.UID == greedy.UID && len(s.Ready) == 3 && s.Short == ""
	})
}

// TestWorkloadWithoutRoomWaits until a replica of another workload has ended.
func TestWorkloadWithoutRoomWaits(t *testing.T) {
	m := newMachine(t, process.Options{Replicas: 1})
	first, second := named("first-00001", 1), named("second-00001", 1)
	m.Run(first)
	m.await("it runs", func(s model.WorkloadStatus) bool { return s.UID == first.UID && len(s.Ready) == 1 })
	m.Run(second)
	m.await("the other waits, and says for what", func(s model.WorkloadStatus) bool {
		return s.UID == second.UID && s.Running == 0 && s.Failure == nil && strings.Contains(s.Short, "has 0 of the 1 replicas")
	})
	first.Replicas = 0
	m.Run(first)
	m.await("the other runs", func(s model.WorkloadStatus) bool { return s.UID == second.UID && len(s.Ready) == 1 && s.Short == "" })
}
