package feature

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestTheClassHPAScalesOnCPU(t *testing.T) { onEachGateway(t, theClassHPAScalesOnCPU) }

// theClassHPAScalesOnCPU runs examples/hpa under requests that compute, until more replicas run because of that.
func theClassHPAScalesOnCPU(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hpa"))
	s.ready("hpa")
	defer s.whileLoaded("hpa.default.localhost", "/?cpu=20ms")()
	eventually(t, "more than one replica, for the CPU", func() error {
		r := s.revision("hpa-00001")
		why := r.Status.Annotations[servingv1.ScaleWhyAnnotation]
		if n := r.Status.ActualReplicas; n == nil || *n < 2 || !strings.Contains(why, "cpu is at") {
			return fmt.Errorf("%s replicas: %s", number(n), why)
		}
		if n := *r.Status.DesiredReplicas; n > 5 {
			t.Fatalf("%d replicas are more than max-scale: %s", n, why)
		}
		return nil
	})
}

// whileLoaded sends requests, a few at a time and with pauses, until the function that it returns is called.
func (s *instance) whileLoaded(host, path string) (stop func()) {
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if status, body, err := s.get(host, path); err != nil || status != 200 {
					s.t.Errorf("status %d, %v: %s", status, err, body)
					return
				}
			}
		})
	}
	return func() {
		close(done)
		clients.Wait()
	}
}

func TestTheClassHPAKnowsTwoMetricsOnOneMachine(t *testing.T) {
	s := embed(t)
	service := newApp(t, "other", map[string]string{
		servingv1.AutoscalingGroup + "/class": "hpa.autoscaling.knative.dev", servingv1.AutoscalingGroup + "/metric": "rps",
	})
	err := s.Create(t.Context(), service)
	if err == nil || !strings.Contains(err.Error(), "metric=rps is not known on one machine: want cpu or memory") {
		t.Errorf("the answer is %v", err)
	}
}

// TestCPUIsASignalBesideTheRequests has one replica compute for one request at a time, which alone would be enough replicas.
func TestCPUIsASignalBesideTheRequests(t *testing.T) {
	s := embed(t, "--config", configFile(t, quickToZero))
	service := newApp(t, "busy", map[string]string{
		"sluice.dev/scale-on-cpu": "40", servingv1.AutoscalingGroup + "/max-scale": "3", servingv1.AutoscalingGroup + "/window": "6s",
	})
	container := &service.Spec.Template.Spec.Containers[0]
	container.Image, container.Command, container.Env = "dev.local/sample:v1", []string{"sluice", "sample"}, nil
	container.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}
	s.create(service)
	s.ready("busy")
	stop := s.whileLoaded("busy.default.localhost", "/?cpu=20ms")
	eventually(t, "more than one replica", func() error {
		r := s.revision("busy-00001").Status
		if n := r.ActualReplicas; n == nil || *n < 2 {
			return fmt.Errorf("%s replicas: %s", number(n), r.Annotations[servingv1.ScaleWhyAnnotation])
		}
		return nil
	})
	stop()
	s.scaledTo("busy-00001", 0)
}
