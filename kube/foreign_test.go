package kube_test

import (
	"fmt"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube"
)

const classAnnotation = servingv1.AutoscalingGroup + "/class"

// foreignBench is a bench that knows one class of others, mine.example.com.
func foreignBench(t *testing.T) *bench {
	b := newBenchWithoutAdapter(t)
	b.adjust = func(o *kube.Options) {
		o.Scale.Foreign = func(annotations map[string]string) string {
			if class := annotations[classAnnotation]; class == "mine.example.com" {
				return class
			}
			return ""
		}
	}
	t.Cleanup(b.startAdapter())
	return b
}

// scaleOf waits until the RevisionScale of a revision fulfils a condition.
func (b *bench) scaleOf(revision, what string, ok func(*autoscalingv1alpha1.RevisionScale) bool) *autoscalingv1alpha1.RevisionScale {
	b.t.Helper()
	s := &autoscalingv1alpha1.RevisionScale{}
	b.eventually(what, func() (bool, string) {
		s = &autoscalingv1alpha1.RevisionScale{}
		err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: revision}, s)
		return err == nil && ok(s), fmt.Sprint(err, s.Spec, s.Status)
	})
	return s
}

// scaleTo sets replicas through the subresource scale, as kubectl scale does.
func (b *bench) scaleTo(s *autoscalingv1alpha1.RevisionScale, replicas int32) {
	b.t.Helper()
	scale := &autoscalingv1.Scale{}
	if err := b.SubResource("scale").Get(b.t.Context(), s, scale); err != nil {
		b.t.Fatal(err)
	}
	scale.Spec.Replicas = replicas
	if err := b.SubResource("scale").Update(b.t.Context(), s, client.WithSubResourceBody(scale)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) desired(revision string, replicas int32) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d replicas of %s", replicas, revision), func() (bool, string) {
		s := b.revision(revision).Status
		return s.DesiredReplicas != nil && *s.DesiredReplicas == replicas && *s.ActualReplicas == replicas,
			s.Annotations[servingv1.ScaleWhyAnnotation]
	})
}

func TestTheOwnerOfAClassScalesThroughTheSubresource(t *testing.T) {
	b := foreignBench(t)
	service := newService("hello", "one")
	service.Spec.Template.Metadata.Annotations = map[string]string{classAnnotation: "mine.example.com"}
	if err := b.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	s := b.scaleOf("hello-00001", "a RevisionScale with what the revision began with", func(s *autoscalingv1alpha1.RevisionScale) bool {
		return s.Spec.Class == "mine.example.com" && s.Spec.Replicas == 1 && s.Status.Replicas == 1
	})
	if revision := b.revision("hello-00001"); !metav1.IsControlledBy(s, revision) ||
		s.Status.Selector != servingv1.RevisionUIDLabel+"="+string(revision.UID) {
		t.Errorf("its owner is %v, its selector %s", s.OwnerReferences, s.Status.Selector)
	}
	var mine autoscalingv1alpha1.RevisionScaleList
	for class, n := range map[string]int{"mine.example.com": 1, "yours.example.com": 0} {
		if err := b.List(t.Context(), &mine, client.MatchingFields{"spec.class": class}); err != nil || len(mine.Items) != n {
			t.Errorf("of class %s there are %d (%v), want %d", class, len(mine.Items), err, n)
		}
	}
	b.scaleTo(s, 3)
	b.desired("hello-00001", 3)
	b.scaleOf("hello-00001", "a status of three", func(s *autoscalingv1alpha1.RevisionScale) bool { return s.Status.Replicas == 3 })
	for _, wrong := range []string{`{"spec":{"replicas":-1}}`, `{"spec":{"replicas":"many"}}`, `{"spec":{"replicas":4294967296}}`} {
		if err := b.Patch(t.Context(), s.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(wrong))); err == nil {
			t.Errorf("the API server takes %s", wrong)
		}
	}
	if err := b.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	b.eventually("no RevisionScale", func() (bool, string) {
		err := b.Get(t.Context(), client.ObjectKeyFromObject(s), s)
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

func TestARevisionScaleGoesWithItsClass(t *testing.T) {
	b := foreignBench(t)
	service := newService("hello", "one")
	service.Spec.Template.Metadata.Annotations = map[string]string{classAnnotation: "mine.example.com"}
	if err := b.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	s := b.scaleOf("hello-00001", "a RevisionScale", func(*autoscalingv1alpha1.RevisionScale) bool { return true })
	revision := b.revision("hello-00001")
	patch := []byte(`{"metadata":{"annotations":{"` + classAnnotation + `":"kpa.autoscaling.knative.dev"}}}`)
	if err := b.Patch(t.Context(), revision, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
	b.eventually("no RevisionScale", func() (bool, string) {
		err := b.Get(t.Context(), client.ObjectKeyFromObject(s), s)
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}
