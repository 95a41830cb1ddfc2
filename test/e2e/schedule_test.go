package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A window that is always open holds a revision up, and one that is deleted lets it go to zero.
func TestScheduleHoldsARevisionUp(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "planned", annotations: window})
	s.awaitReady("planned")
	schedule := fmt.Sprintf(`
apiVersion: autoscaling.sluice.dev/v1alpha1
kind: ScalingSchedule
metadata: {namespace: %s, name: always}
spec:
  services: [planned]
  entries: [{name: open, start: "* * * * *", duration: 48h, minReplicas: 2}]
`, s.name)
	if err := kubectl([]byte(schedule), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.await("the replicas of the schedule", func() (any, bool) { n := s.replicas("planned"); return n, n == 2 })
	is := func(name, condition string) {
		t.Helper()
		if err := kubectl(nil, "-n", s.name, "wait", name, "--for=condition="+condition, "--timeout", patience.String()); err != nil {
			t.Error(err)
		}
	}
	is("scalingschedule/always", "Ready")
	wrong := strings.NewReplacer("name: always", "name: wrong", "spec:", "spec:\n  timeZone: Mars/Olympus", "minReplicas: 2",
		"minReplicas: 9")
	if err := kubectl([]byte(wrong.Replace(schedule)), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	is("scalingschedule/wrong", "Ready=False")
	if n := s.replicas("planned"); n != 2 {
		t.Errorf("with a schedule that is wrong beside it there are %d replicas, want 2", n)
	}
	if err := kubectl(nil, "-n", s.name, "delete", "scalingschedule/always"); err != nil {
		t.Fatal(err)
	}
	s.await("no replica", func() (any, bool) { n := s.replicas("planned"); return n, n == 0 })
}
