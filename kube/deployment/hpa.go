package deployment

import (
	"context"
	"fmt"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Scaler returns the HorizontalPodAutoscaler of a revision that leaves its replicas to one: Knative's
// (pkg/reconciler/autoscaling/hpa/resources/hpa.go), whose owner is the Revision. w.HPA must not be nil.
func Scaler(w model.Workload, r *servingv1.Revision) *autoscalingv2.HorizontalPodAutoscaler {
	labels := without(r.Labels, volatile)
	labels[servingv1.RevisionLabel], labels[servingv1.RevisionUIDLabel] = w.Revision.Name, w.UID
	scaler := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: autoscalingv2.SchemeGroupVersion.String(), Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Revision.Namespace, Name: w.Revision.Name, Labels: labels, Annotations: without(r.Annotations, volatile),
			OwnerReferences: []metav1.OwnerReference{ownerOf(r)},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: Name(w.Revision.Name),
			},
			MinReplicas: new(number(max(1, float64(w.HPA.Min)))),
			MaxReplicas: math.MaxInt32,
		},
	}
	if w.HPA.Max > 0 {
		scaler.Spec.MaxReplicas = number(float64(w.HPA.Max))
	}
	if w.HPA.Target > 0 {
		scaler.Spec.Metrics = []autoscalingv2.MetricSpec{metricOf(w.HPA)}
	}
	if w.HPA.Window > 0 {
		seconds := number(w.HPA.Window.Seconds())
		scaler.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleUp:   &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds},
			ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds},
		}
	}
	return scaler
}

// metricOf returns the metric of a policy that has a target. A target below the smallest one that the API takes is that one.
func metricOf(hpa *model.HPA) autoscalingv2.MetricSpec {
	switch hpa.Metric {
	case model.CPU:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(hpa.Utilization()),
			},
		}}
	case model.Memory:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceMemory,
			Target: average(resource.NewQuantity(hpa.Bytes(), resource.BinarySI)),
		}}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: string(hpa.Metric)},
		Target: average(resource.NewQuantity(int64(max(1, min(hpa.Target, math.MaxInt32))), resource.DecimalSI)),
	}}
}

func average(value *resource.Quantity) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: value}
}

// number converts to the integers of the API.
func number(v float64) int32 { return int32(min(v, math.MaxInt32)) }

// dropScaler deletes the HorizontalPodAutoscaler of a revision that has none any more: it was of another class.
func (r *Runtime) dropScaler(ctx context.Context, w model.Workload) error {
	have, err := r.scaler(ctx, w)
	if have == nil || err != nil {
		return err
	}
	return r.deleteScaler(ctx, have)
}

func (r *Runtime) deleteScaler(ctx context.Context, have *autoscalingv2.HorizontalPodAutoscaler) error {
	if err := r.client.Delete(ctx, have, client.Preconditions{UID: &have.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting HorizontalPodAutoscaler %s: %w", have.Name, err)
	}
	return nil
}

// keepScaler creates the HorizontalPodAutoscaler of a revision or changes it.
func (r *Runtime) keepScaler(ctx context.Context, w model.Workload) error {
	have, err := r.scaler(ctx, w)
	if err != nil {
		return err
	}
	revision := r.options.Revision(w.Revision)
	if revision == nil || string(revision.UID) != w.UID || revision.DeletionTimestamp != nil {
		return nil
	}
	want := Scaler(w, revision)
	if have == nil {
		return r.createScaler(ctx, w, want)
	}
	next := have.DeepCopy()
	follow(&next.Spec, &want.Spec)
	if apiequality.Semantic.DeepEqual(next.Spec, have.Spec) {
		return nil
	}
	if err := r.client.Update(ctx, next); err != nil {
		return fmt.Errorf("changing HorizontalPodAutoscaler %s: %w", have.Name, err)
	}
	return nil
}

// follow writes what we ask for into a spec, and leaves the defaults that the API server has filled in.
func follow(spec, want *autoscalingv2.HorizontalPodAutoscalerSpec) {
	spec.ScaleTargetRef, spec.MinReplicas, spec.MaxReplicas = want.ScaleTargetRef, want.MinReplicas, want.MaxReplicas
	if want.Metrics != nil {
		spec.Metrics = want.Metrics
	}
	if want.Behavior == nil {
		return
	}
	if spec.Behavior == nil || spec.Behavior.ScaleUp == nil || spec.Behavior.ScaleDown == nil {
		spec.Behavior = want.Behavior
		return
	}
	spec.Behavior.ScaleUp.StabilizationWindowSeconds = want.Behavior.ScaleUp.StabilizationWindowSeconds
	spec.Behavior.ScaleDown.StabilizationWindowSeconds = want.Behavior.ScaleDown.StabilizationWindowSeconds
}

// createScaler creates a HorizontalPodAutoscaler. When one of that name exists, the cache is behind, or it is somebody else's.
func (r *Runtime) createScaler(ctx context.Context, w model.Workload, want *autoscalingv2.HorizontalPodAutoscaler) error {
	err := r.client.Create(ctx, want)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			err = fmt.Errorf("creating HorizontalPodAutoscaler %s: %w", want.Name, err)
		}
		return err
	}
	have := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(want), have); err != nil {
		return fmt.Errorf("reading HorizontalPodAutoscaler %s: %w", want.Name, err)
	}
	switch {
	case metav1.IsControlledBy(have, ownedBy(w)):
		return err // the cache learns of it
	case !ofRevision(have):
		const message = "there is a HorizontalPodAutoscaler %s in namespace %s that Revision %s does not own: " +
			"delete it, or name the revision otherwise"
		return &mistake{"NotOwned", fmt.Errorf(message, have.Name, have.Namespace, w.Revision.Name)}
	}
	if err := r.deleteScaler(ctx, have); err != nil {
		return err
	}
	return errReplaced
}

// scaler returns the HorizontalPodAutoscaler of a revision as the cache has it, nil when there is none.
func (r *Runtime) scaler(ctx context.Context, w model.Workload) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	have := &autoscalingv2.HorizontalPodAutoscaler{}
	err := r.cache.Get(ctx, client.ObjectKey{Namespace: w.Revision.Namespace, Name: w.Revision.Name}, have)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading the HorizontalPodAutoscaler of revision %s: %w", w.Revision, err)
	}
	if err != nil || !metav1.IsControlledBy(have, ownedBy(w)) {
		return nil, nil
	}
	return have, nil
}
