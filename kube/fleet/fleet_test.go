package fleet_test

import (
	"testing"

	"sluice.dev/sluice/kube/fleet"
	"sluice.dev/sluice/kube/world"
	"sluice.dev/sluice/model"
)

// TestNothingBringsARemovedRevisionBack has the runtime report a revision while it is being removed.
func TestNothingBringsARemovedRevisionBack(t *testing.T) {
	a := world.NewAssembler(model.Gateway{}, "")
	b := world.NewBacking(a, func(model.Key, bool) {})
	taken := make(chan bool)
	key := model.Key{Namespace: "default", Name: "hello-00001"}
	status := model.WorkloadStatus{Revision: key, UID: "1", Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}
	var f *fleet.Fleet
	f = fleet.New(fleet.Outputs{
		Run: func(model.Workload) {}, Backend: b.SetBackend, Keep: a.Keep,
		Forget: func(k model.Key) {
			b.RemoveBackend(k)
			go func() { taken <- f.Observe(status) }()
		},
	})
	f.Set(fleet.Plan{Workload: model.Workload{Revision: key, UID: "1"}, Runnable: true, Backend: model.Backend{Revision: key}})
	if !f.Observe(status) || len(a.World().Backends) != 1 {
		t.Fatalf("the revision that runs is not in the World: %v", a.World().Backends)
	}
	f.Remove(key)
	if late := <-taken; late || len(a.World().Backends) != 0 {
		t.Errorf("the late report was taken: %t; backends: %v, want nothing of what is gone", late, a.World().Backends)
	}
}
