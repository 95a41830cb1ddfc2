package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/fleet"
)

// scaleOf returns the RevisionScale of a Revision, nil when it has none. One of an older Revision of that name is deleted, and an error
// asks for another try.
func (a *Adapter) scaleOf(ctx context.Context, revision *servingv1.Revision) (*autoscalingv1alpha1.RevisionScale, error) {
	scale, err := find[autoscalingv1alpha1.RevisionScale](ctx, a.client, revision.Namespace, revision.Name)
	if scale == nil || err != nil {
		return nil, err
	}
	if metav1.IsControlledBy(scale, revision) && a.foreign(revision) == scale.Spec.Class {
		return scale, nil
	}
	if owner := metav1.GetControllerOf(scale); owner == nil || owner.Kind != kindRevision {
		return nil, nil // somebody else made it
	}
	return nil, a.remove(ctx, scale) // its deletion enqueues the Revision
}

// askedIn returns how many replicas the owner of a class asks for.
func askedIn(scale *autoscalingv1alpha1.RevisionScale) *int {
	if scale == nil {
		return nil
	}
	return new(int(scale.Spec.Replicas))
}

// foreign returns the class of a Revision that others scale; empty when Sluice does.
func (a *Adapter) foreign(revision *servingv1.Revision) string {
	if a.options.Scale.Foreign == nil {
		return ""
	}
	return a.options.Scale.Foreign(revision.Annotations)
}

// keepScale creates the RevisionScale of a Revision that others scale, with what the Revision begins with, and keeps its status. What its
// spec says is the owner's alone.
func (a *Adapter) keepScale(ctx context.Context, revision *servingv1.Revision, scale *autoscalingv1alpha1.RevisionScale,
	state fleet.State) error {
	class := a.foreign(revision)
	if class == "" {
		return nil
	}
	if scale == nil {
		scale = &autoscalingv1alpha1.RevisionScale{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: revision.Namespace, Name: revision.Name,
				Labels: map[string]string{
					servingv1.RevisionLabel: revision.Name, servingv1.RevisionUIDLabel: string(revision.UID),
				},
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(revision, servingv1.GroupVersion.WithKind(kindRevision))},
			},
			Spec: autoscalingv1alpha1.RevisionScaleSpec{Class: class, Replicas: int32(state.Replicas)},
		}
		if err := a.client.Create(ctx, scale); err != nil {
			return fmt.Errorf("creating the RevisionScale of %s/%s: %w", revision.Namespace, revision.Name, err)
		}
	}
	after := scale.DeepCopy()
	after.Status = autoscalingv1alpha1.RevisionScaleStatus{Selector: servingv1.RevisionUIDLabel + "=" + string(revision.UID)}
	if state.Status != nil {
		after.Status.Replicas = int32(len(state.Status.Ready))
	}
	if after.Status == scale.Status {
		return nil
	}
	if err := a.client.Status().Update(ctx, after); err != nil {
		return fmt.Errorf("writing the status of the RevisionScale of %s/%s: %w", revision.Namespace, revision.Name, err)
	}
	return nil
}

// endScale deletes the RevisionScale of a Revision that is gone, where no garbage collector runs.
func (a *Adapter) endScale(ctx context.Context, namespace, name string) error {
	if !a.options.CollectGarbage {
		return nil
	}
	scale, err := find[autoscalingv1alpha1.RevisionScale](ctx, a.client, namespace, name)
	if scale == nil || err != nil {
		return err
	}
	if owner := metav1.GetControllerOf(scale); owner == nil || owner.Kind != kindRevision {
		return nil
	}
	return a.remove(ctx, scale)
}
