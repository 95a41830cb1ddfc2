package feature

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// TestReplicasOfOneServiceAreNotAllOfTheMachine lets requests of one Service stall, each of which needs a replica.
func TestReplicasOfOneServiceAreNotAllOfTheMachine(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t, "--max-replicas", "10", "--config", zeroInitialScale(t))
		greedy := newApp(t, "greedy", nil)
		greedy.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
		s.create(greedy, newApp(t, "hello", map[string]string{autoscaling + "min-scale": "1"}),
			newApp(t, "sleeper", map[string]string{autoscaling + "initial-scale": "0"}))
		l := s.startLoad(host, 4)
		l.reaches(t, 50)
		release := filepath.Join(t.TempDir(), "release")
		answers := make(chan error, 30)
		for range cap(answers) {
			go func() {
				status, body, err := s.get("greedy.default.localhost", "/?until="+release)
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d: %s", status, body)
				}
				answers <- err
			}()
		}
		eventually(t, "the revision says that it is at the machine's capacity, and is ready", func() error {
			status := s.revision("greedy-00001").Status
			c, ready := status.Condition("ResourcesAvailable"), status.Condition(servingv1.ConditionReady)
			if c == nil || c.Reason != "AtCapacity" || !strings.Contains(c.Message, "--max-replicas") || ready == nil ||
				ready.Status != "True" {
				return fmt.Errorf("its conditions are %+v, %+v", c, ready)
			}
			return nil
		})
		if status, body, err := s.get("sleeper.default.localhost", "/"); err != nil || status != 200 {
			t.Errorf("a service at zero answers %d, %v: %s", status, err, body)
		}
		if n := len(s.replicas()); n > 10 {
			t.Errorf("%d replicas run", n)
		}
		touch(t, release)
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("a request that waited: %v", err)
			}
		}
		if answered, failed := l.stop(); len(failed) > 0 {
			t.Errorf("%d requests were answered and %d failed: %s", answered, len(failed), failed[0])
		}
	})
}

func TestReplicasThatTheMachineDoesNotRunAreRefused(t *testing.T) {
	t.Parallel()
	s := embed(t, "--max-replicas", "10")
	err := s.Create(t.Context(), newApp(t, "hello", map[string]string{autoscaling + "min-scale": "2147483647"}))
	if err == nil || !strings.Contains(err.Error(),
		"min-scale=2147483647 is more than the 10 replicas that this machine runs at most (--max-replicas)") {
		t.Errorf("the API answers %v", err)
	}
}
