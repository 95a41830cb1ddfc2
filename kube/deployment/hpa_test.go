package deployment

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/model"
)

func TestScalersAreThoseOfKnative(t *testing.T) {
	for name, c := range map[string]struct {
		hpa  model.HPA
		want string
	}{
		"without a target":      {model.HPA{Min: 1, Metric: model.CPU}, "1 to 2147483647"},
		"cpu":                   {model.HPA{Min: 2, Max: 7, Metric: model.CPU, Target: 70.2}, "2 to 7, cpu Utilization 71%"},
		"memory":                {model.HPA{Min: 1, Metric: model.Memory, Target: 200}, "1 to 2147483647, memory AverageValue 200Mi"},
		"a metric of the pods":  {model.HPA{Min: 1, Max: 3, Metric: "rps", Target: 150}, "1 to 3, pods rps AverageValue 150"},
		"a window":              {model.HPA{Min: 1, Max: 3, Window: 90 * time.Second}, "1 to 3, up 90s, down 90s"},
		"targets out of bounds": {model.HPA{Min: 1, Metric: model.CPU, Target: 1e18}, "1 to 2147483647, cpu Utilization 2147483647%"},
		"too much memory": {model.HPA{Min: 1, Metric: model.Memory, Target: 1e300},
			"1 to 2147483647, memory AverageValue 2147483647Mi"},
		"a fraction of a MiB":   {model.HPA{Min: 1, Metric: model.Memory, Target: 0.5}, "1 to 2147483647, memory AverageValue 1Mi"},
		"an impossible minimum": {model.HPA{Min: math.MaxInt, Max: 3}, "2147483647 to 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRevision("hello-00001")
			w := workloadOf(r)
			w.HPA = &c.hpa
			scaler := Scaler(w, r)
			if got := describe(scaler); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if scaler.Name != r.Name || !metav1.IsControlledBy(scaler, r) || scaler.Spec.ScaleTargetRef.Name != "hello-00001-deployment" {
				t.Errorf("its name is %s, its owner %v, its target %v", scaler.Name, scaler.OwnerReferences, scaler.Spec.ScaleTargetRef)
			}
		})
	}
}

// describe is a HorizontalPodAutoscaler in words.
func describe(s *autoscalingv2.HorizontalPodAutoscaler) string {
	text := []string{fmt.Sprint(*s.Spec.MinReplicas, " to ", s.Spec.MaxReplicas)}
	for _, m := range s.Spec.Metrics {
		switch {
		case m.Resource != nil && m.Resource.Target.AverageUtilization != nil:
			text = append(text, fmt.Sprint(m.Resource.Name, " ", m.Resource.Target.Type, " ", *m.Resource.Target.AverageUtilization, "%"))
		case m.Resource != nil:
			text = append(text, fmt.Sprint(m.Resource.Name, " ", m.Resource.Target.Type, " ", m.Resource.Target.AverageValue))
		case m.Pods != nil:
			text = append(text, fmt.Sprint("pods ", m.Pods.Metric.Name, " ", m.Pods.Target.Type, " ", m.Pods.Target.AverageValue))
		}
	}
	if b := s.Spec.Behavior; b != nil {
		text = append(text, fmt.Sprint("up ", *b.ScaleUp.StabilizationWindowSeconds, "s"),
			fmt.Sprint("down ", *b.ScaleDown.StabilizationWindowSeconds, "s"))
	}
	return strings.Join(text, ", ")
}

// scalerOf waits until the HorizontalPodAutoscaler of a workload fulfils a condition.
func (b *bench) scalerOf(w model.Workload, what string,
	ok func(*autoscalingv2.HorizontalPodAutoscaler) bool) *autoscalingv2.HorizontalPodAutoscaler {
	b.t.Helper()
	s := &autoscalingv2.HorizontalPodAutoscaler{}
	b.eventually(what, func() bool {
		s = &autoscalingv2.HorizontalPodAutoscaler{}
		err := b.Get(b.t.Context(), client.ObjectKey{Namespace: b.namespace, Name: w.Revision.Name}, s)
		return err == nil && ok(s)
	})
	return s
}

func TestAScalerHasTheReplicas(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	w.HPA = &model.HPA{Min: 2, Max: 7, Metric: model.CPU, Target: 70, Window: time.Minute}
	b.run(w, 2)
	d := b.deployment(w, "two replicas", hasReplicas(2))
	scaler := b.scalerOf(w, "a HorizontalPodAutoscaler", func(s *autoscalingv2.HorizontalPodAutoscaler) bool {
		return describe(s) == "2 to 7, cpu Utilization 70%, up 60s, down 60s"
	})
	if !metav1.IsControlledBy(scaler, ownedBy(w)) {
		t.Errorf("its owner is %v, want the Revision", scaler.OwnerReferences)
	}

	// Kubernetes' controller scales: what it asks for is reported, and the Deployment is left to it.
	d.Spec.Replicas = new(int32(5))
	if err := b.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	scaler.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		DesiredReplicas: 5, CurrentReplicas: 2,
		CurrentMetrics: []autoscalingv2.MetricStatus{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{
				Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: new(int32(175))},
			},
		}},
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
			{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue},
			{Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionTrue, Reason: "TooManyReplicas"},
		},
	}
	if err := b.Status().Update(t.Context(), scaler); err != nil {
		t.Fatal(err)
	}
	s := b.status(w, "what it asks for", func(s model.WorkloadStatus) bool { return s.Asked.Replicas == 5 })
	if want := "cpu is at 175% of the request at a target of 70%"; s.Asked.Why != want {
		t.Errorf("the why is %q, want %q", s.Asked.Why, want)
	}
	if want := []string{"The HorizontalPodAutoscaler would run more replicas than max-scale allows."}; !slices.Equal(s.Notes, want) {
		t.Errorf("the notes are %q, want %q", s.Notes, want)
	}
	w.HPA = &model.HPA{Min: 4, Max: 8, Metric: model.CPU, Target: 70, Window: time.Minute} // as a schedule would
	b.run(w, 3)
	b.scalerOf(w, "other bounds", func(s *autoscalingv2.HorizontalPodAutoscaler) bool {
		return describe(s) == "4 to 8, cpu Utilization 70%, up 60s, down 60s"
	})
	b.deployment(w, "five replicas", hasReplicas(5))

	w.HPA = nil // another class
	b.run(w, 3)
	b.deployment(w, "three replicas", hasReplicas(3))
	b.eventually("no HorizontalPodAutoscaler", func() bool {
		return apierrors.IsNotFound(b.Get(t.Context(), client.ObjectKeyFromObject(scaler), scaler))
	})
}

func TestAScalerThatCannotScaleIsARemark(t *testing.T) {
	scaler := &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{
		DesiredReplicas: 2,
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{
			Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric",
			Message: "the HPA was unable to compute the replica count: failed to get cpu utilization",
		}, {Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionFalse, Reason: "DesiredWithinRange"}},
	}}
	want := []string{"The HorizontalPodAutoscaler does not scale (FailedGetResourceMetric): the HPA was unable to compute the replica " +
		"count: " +
		"failed to get cpu utilization."}
	if diff := cmp.Diff(want, remarks(scaler)); diff != "" {
		t.Error(diff)
	}
	if got := askedBy(scaler); got.Replicas != 2 || got.Why != "it has no figures yet" {
		t.Errorf("it asks for %+v", got)
	}
	if got := askedBy(nil); got.Signal != "" || remarks(nil) != nil {
		t.Errorf("a missing one asks for %+v", got)
	}
}

func TestAScalerOfSomebodyElseIsLeftAlone(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	other := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "hello-00001"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas:    3,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "theirs"},
		},
	}
	if err := b.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	w.HPA = &model.HPA{Min: 1, Metric: model.CPU}
	b.run(w, 1)
	b.status(w, "a failure that names it", func(s model.WorkloadStatus) bool {
		return s.Failure != nil && strings.Contains(s.Failure.Message, "HorizontalPodAutoscaler hello-00001")
	})
	b.deployment(w, "a Deployment", func(*appsv1.Deployment) bool { return true })
	if err := b.Get(t.Context(), client.ObjectKeyFromObject(other), other); err != nil || other.Spec.ScaleTargetRef.Name != "theirs" {
		t.Errorf("it is %v now (%v)", other.Spec.ScaleTargetRef, err)
	}
}
