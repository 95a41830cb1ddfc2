package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// needsMetrics skips a test where the cluster does not measure CPU.
func needsMetrics(t *testing.T) {
	t.Helper()
	nodes := &unstructured.UnstructuredList{}
	nodes.SetAPIVersion("metrics.k8s.io/v1beta1")
	nodes.SetKind("NodeMetricsList")
	if err := cluster.List(t.Context(), nodes); err != nil {
		t.Skipf("the cluster does not serve metrics.k8s.io, so nothing scales on CPU (.ci/cluster metrics): %v", err)
	}
}

// computing is a Service with annotations whose replicas request little CPU.
func (s *space) computing(name string, annotations map[string]string) {
	s.Helper()
	o := service{name: name, annotations: annotations}.object(s.name)
	// An idle pod uses 3 to 4 millicores on a busy machine, for probes; it counts as idle below a tenth of what it should use.
	o.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("150m")}
	s.put(o)
	s.awaitReady(name)
}

// compute has some clients send requests that compute, until stop is called. The requests go through Envoy.
func (s *space) compute(name string) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := ask(ctx, cluster.http, s.host(name), "/?cpu=50ms"); a.status != http.StatusOK && ctx.Err() == nil {
					s.Errorf("got %v", a)
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func (s *space) revision(name string) *servingv1.Revision {
	s.Helper()
	r := &servingv1.Revision{}
	if err := cluster.Get(s.Context(), client.ObjectKey{Namespace: s.name, Name: name}, r); err != nil {
		s.Fatal(err)
	}
	return r
}

func TestTheClassHPAScalesOnCPUInACluster(t *testing.T) {
	needsMetrics(t)
	s := newSpace(t)
	s.computing("hpa", map[string]string{
		"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev", "autoscaling.knative.dev/target": "70",
		"autoscaling.knative.dev/max-scale": "4",
	})
	scaler := &autoscalingv2.HorizontalPodAutoscaler{}
	key := client.ObjectKey{Namespace: s.name, Name: "hpa-00001"}
	s.await("a HorizontalPodAutoscaler", func() (any, bool) { err := cluster.Get(t.Context(), key, scaler); return err, err == nil })
	if !metav1.IsControlledBy(scaler, s.revision("hpa-00001")) {
		t.Errorf("its owner is %v", scaler.OwnerReferences)
	}
	stop := s.compute("hpa")
	s.await("more than one replica, for the CPU", func() (any, bool) {
		r := s.revision("hpa-00001").Status
		why := r.Annotations[servingv1.ScaleWhyAnnotation]
		return why, s.replicas("hpa") > 1 && r.DesiredReplicas != nil && *r.DesiredReplicas > 1 &&
			strings.Contains(why, "the HorizontalPodAutoscaler asks for") && strings.Contains(why, "of the request at a target of 70%")
	})
	stop()
	if err := cluster.Delete(t.Context(), s.get("hpa")); err != nil {
		t.Fatal(err)
	}
	s.await("no HorizontalPodAutoscaler", func() (any, bool) {
		err := cluster.Get(t.Context(), key, scaler)
		return err, apierrors.IsNotFound(err)
	})
}

func TestCPUIsASignalInACluster(t *testing.T) {
	needsMetrics(t)
	s := newSpace(t)
	s.computing("busy", map[string]string{
		"sluice.dev/scale-on-cpu": "40", "autoscaling.knative.dev/max-scale": "3", "autoscaling.knative.dev/window": "30s",
	})
	stop := s.compute("busy")
	s.await("more than one replica, for the CPU", func() (any, bool) {
		why := s.revision("busy-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]
		return why, s.replicas("busy") > 1
	})
	if why := s.revision("busy-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]; !strings.Contains(why, "cpu") &&
		!strings.Contains(why, "max-scale") {
		t.Errorf("the why is %q", why)
	}
	stop()
	s.await("no replica", func() (any, bool) { n := s.replicas("busy"); return n, n == 0 })
}
