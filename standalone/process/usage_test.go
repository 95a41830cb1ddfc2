//go:build linux

package process_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

func TestUsageIsThatOfTheWholeFamily(t *testing.T) {
	m := newMachine(t, process.Options{})
	burns := app("burn", 2)
	burns.CPU = 250
	burns.Containers[0].Env = append(burns.Containers[0].Env, model.EnvVar{Name: "CHILD", Value: t.TempDir() + "/child"})
	m.Run(burns)
	m.await("two ready replicas", func(s model.WorkloadStatus) bool { return len(s.Ready) == 2 })
	usage := func() (u model.Usage) {
		other := model.Key{Namespace: "default", Name: "another"}
		m.Usage(t.Context(), []model.Key{burns.Revision, other}, func(got model.Usage) {
			if got.Revision != burns.Revision || got.UID != "1" || len(got.Replicas) != 2 {
				t.Fatalf("the usage is %+v", got)
			}
			u = got
		})
		return u
	}
	// The daemon of each replica burns CPU in a session of its own; what serves is idle.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		u := usage()
		enough := true
		for _, r := range u.Replicas {
			if !r.Measured || !r.Ready || r.Pending || r.Ending || r.Request != 250 || r.Started.IsZero() || r.Turned.Before(r.Started) ||
				r.Window <= 0 {
				t.Fatalf("a replica is %+v", r)
			}
			enough = enough && r.CPU >= 50 && r.Memory > 1<<20
		}
		if enough {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the daemons are never seen: %+v", u)
		}
	}
	burns.Replicas = 0
	m.Run(burns)
	m.await("no replica", func(s model.WorkloadStatus) bool { return s.Running == 0 })
	m.Usage(t.Context(), []model.Key{burns.Revision}, func(u model.Usage) { t.Errorf("after the end there is %+v", u) })
}
