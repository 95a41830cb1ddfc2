package e2e

import (
	"context"
	"net/http"
	"sync"
	"testing"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// crowd has so many clients send requests of 200 ms through Envoy until stop is called.
func (s *space) crowd(name string, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := ask(ctx, cluster.http, s.host(name), "/?sleep=200ms"); a.status != http.StatusOK && ctx.Err() == nil {
					s.Errorf("%s: got %v", name, a)
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// exposed deploys a Service whose containers listen on the addresses of their pods, as they must where no queue-proxy is beside them.
func (s *space) exposed(v service) {
	s.Helper()
	o := v.object(s.name)
	container := &o.Spec.Template.Spec.Containers[0]
	container.Env = append(container.Env, servingv1.EnvVar{Name: "HOST", Value: "0.0.0.0"})
	s.put(o)
}

// TestPodsWithoutQueueProxiesScaleTheSame: from zero, under load through Envoy, and back to zero, beside a Service with queue-proxies.
func TestPodsWithoutQueueProxiesScaleTheSame(t *testing.T) {
	s := newSpace(t)
	annotations := func(source string) map[string]string {
		return map[string]string{
			"sluice.dev/metrics-source": source, "autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/target": "4",
			"autoscaling.knative.dev/target-utilization-percentage": "100", "autoscaling.knative.dev/target-burst-capacity": "0",
		}
	}
	s.exposed(service{name: "with", annotations: annotations("queue-proxy")})
	s.exposed(service{name: "without", annotations: annotations("envoy")})
	names := []string{"with", "without"}
	for _, name := range names {
		s.awaitReady(name)
	}
	for _, pod := range s.listPods("without") {
		if n := len(pod.Spec.Containers); n != 1 {
			t.Errorf("pod %s has %d containers, want the user's alone", pod.Name, n)
		}
	}
	for _, name := range names {
		s.await("no replica of "+name, func() (any, bool) { n := s.replicas(name); return n, n == 0 })
	}
	var stops []func()
	for _, name := range names {
		stops = append(stops, s.crowd(name, 12)) // three replicas at four requests each
	}
	s.await("about three replicas of both", func() (any, bool) {
		with, without := s.revision("with-00001").Status, s.revision("without-00001").Status
		a, b := desired(with), desired(without)
		return [2]int32{a, b}, a >= 2 && a <= 4 && b >= a-1 && b <= a+1 && b >= 2 && s.replicas("without") == int(b)
	})
	for _, stop := range stops {
		stop()
	}
	s.await("no replica", func() (any, bool) { n := s.replicas("without"); return n, n == 0 })
}

// desired is how many replicas are asked for, 0 while that is unknown.
func desired(status servingv1.RevisionStatus) int32 {
	if status.DesiredReplicas == nil {
		return 0
	}
	return *status.DesiredReplicas
}

// TestALimitHoldsWithoutQueueProxiesInACluster, where two activators share the revision.
func TestALimitHoldsWithoutQueueProxiesInACluster(t *testing.T) {
	s := newSpace(t)
	s.exposed(service{name: "single", concurrency: 1, annotations: map[string]string{
		"sluice.dev/metrics-source": "envoy", "autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/max-scale": "3",
	}})
	s.awaitReady("single")
	stop := s.crowd("single", 4)
	s.await("three replicas for four clients", func() (any, bool) { n := s.replicas("single"); return n, n == 3 })
	stop()
	s.await("no replica", func() (any, bool) { n := s.replicas("single"); return n, n == 0 })
}
