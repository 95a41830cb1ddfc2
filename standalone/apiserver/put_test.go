package apiserver

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// typedRoute is a Route as a controller has it.
func typedRoute(t *testing.T, u *unstructured.Unstructured) *servingv1.Route {
	t.Helper()
	r := &servingv1.Route{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, c dynamic.ResourceInterface, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPutStoresTheStatusAndLeavesTheRest(t *testing.T) {
	c := objects(t, shared, "routes", "put-status")
	before := create(t, c, route)
	o := typedRoute(t, before)
	o.Labels, o.Spec.Traffic[0].ConfigurationName = map[string]string{"not": "written"}, "other"
	o.Status.ObservedGeneration, o.Status.URL = 1, "http://hello"
	if err := shared.Put(t.Context(), o, false); err != nil {
		t.Fatal(err)
	}
	after := read(t, c, "hello")
	if o.ResourceVersion != after.GetResourceVersion() || o.ResourceVersion == before.GetResourceVersion() {
		t.Errorf("resourceVersion %s, stored as %s, was %s", o.ResourceVersion, after.GetResourceVersion(), before.GetResourceVersion())
	}
	want := before.DeepCopy()
	want.SetResourceVersion(after.GetResourceVersion())
	want.Object["status"] = map[string]any{"observedGeneration": int64(1), "url": "http://hello"}
	if d := cmp.Diff(want.Object, after.Object); d != "" {
		t.Errorf("stored (-want +have):\n%s", d)
	}
}

func TestPutOfTheWholeStoresSpecAndStatusInOneWrite(t *testing.T) {
	c := objects(t, shared, "routes", "put-whole")
	before := create(t, c, route)
	events, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	o := typedRoute(t, before)
	o.Generation, o.Spec.Traffic[0].ConfigurationName = 2, "other"
	o.Labels, o.Annotations = map[string]string{"a": "label"}, map[string]string{"an": "annotation"}
	o.Status.ObservedGeneration = 2
	if err := shared.Put(t.Context(), o, true); err != nil {
		t.Fatal(err)
	}
	event := <-events.ResultChan()
	if event.Type != watch.Modified {
		t.Fatalf("a watch got %s, want MODIFIED", event.Type)
	}
	after := event.Object.(*unstructured.Unstructured)
	want := before.DeepCopy()
	want.SetResourceVersion(o.ResourceVersion)
	want.SetGeneration(2)
	want.SetLabels(o.Labels)
	want.SetAnnotations(o.Annotations)
	traffic, _, _ := unstructured.NestedSlice(want.Object, "spec", "traffic")
	traffic[0].(map[string]any)["configurationName"] = "other"
	if err := unstructured.SetNestedSlice(want.Object, traffic, "spec", "traffic"); err != nil {
		t.Fatal(err)
	}
	want.Object["status"] = map[string]any{"observedGeneration": int64(2)}
	if d := cmp.Diff(want.Object, after.Object); d != "" {
		t.Errorf("a watch got (-want +have):\n%s", d)
	}
	// The API server continues from that generation.
	patched, err := c.Patch(t.Context(), "hello", types.MergePatchType,
		[]byte(`{"spec":{"traffic":[{"configurationName":"third","percent":100}]}}`), metav1.PatchOptions{})
	if err != nil || patched.GetGeneration() != 3 {
		t.Errorf("a change after it: generation %d, %v, want 3", patched.GetGeneration(), err)
	}
}

func TestPutOverANewerVersionIsAConflict(t *testing.T) {
	c := objects(t, shared, "routes", "put-late")
	o := typedRoute(t, create(t, c, route))
	first := o.DeepCopy()
	first.Status.URL = "http://first"
	if err := shared.Put(t.Context(), first, false); err != nil {
		t.Fatal(err)
	}
	o.Status.URL = "http://second"
	if err := shared.Put(t.Context(), o, false); !apierrors.IsConflict(err) {
		t.Errorf("put over a newer version: %v, want a conflict", err)
	}
	if err := c.Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shared.Put(t.Context(), first, false); !apierrors.IsNotFound(err) {
		t.Errorf("put of a deleted object: %v, want not found", err)
	}
	create(t, c, route)
	if err := shared.Put(t.Context(), first, false); !apierrors.IsConflict(err) {
		t.Errorf("put over another object of the name: %v, want a conflict", err)
	}
}

// BenchmarkPut measures a durable write of a status by a controller of this process.
func BenchmarkPut(b *testing.B) {
	b.ReportAllocs()
	c := objects(b, shared, "routes", "bench-put")
	u := create(b, c, route)
	defer func() { _ = c.Delete(context.Background(), "hello", metav1.DeleteOptions{}) }()
	o := &servingv1.Route{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o.Status.ObservedGeneration++
		if err := shared.Put(b.Context(), o, false); err != nil {
			b.Fatal(err)
		}
	}
}
