package apiserver

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// managersOf lists who set fields of an object, and how.
func managersOf(u *unstructured.Unstructured) []string {
	var all []string
	for _, m := range u.GetManagedFields() {
		all = append(all, m.Manager+" "+string(m.Operation))
	}
	slices.Sort(all)
	return all
}

func TestFieldsAreTrackedFromTheFirstServerSideApply(t *testing.T) {
	c := objects(t, shared, "services", "tracked-fields")
	if got := managersOf(create(t, c, service)); got != nil {
		t.Errorf("created: the managers are %q, want none", got)
	}
	patched, err := c.Patch(t.Context(), "hello", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`),
		metav1.PatchOptions{FieldManager: "patcher"})
	if err != nil {
		t.Fatal(err)
	}
	if got := managersOf(patched); got != nil {
		t.Errorf("patched: the managers are %q, want none", got)
	}
	scale := func(seconds int) string {
		return `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"},
			"spec":{"template":{"spec":{"timeoutSeconds":` + string(rune('0'+
			seconds)) + `,"containers":[{"name":"user-container","image":"hello","ports":[{"containerPort":8080}]}]}}}}`
	}
	if _, err = c.Patch(t.Context(), "hello", types.ApplyPatchType, []byte(scale(5)),
		metav1.PatchOptions{FieldManager: "one"}); !apierrors.IsConflict(err) {
		t.Errorf("apply over a field that was set before: %v, want a conflict", err)
	}
	force := metav1.PatchOptions{FieldManager: "one", Force: new(true)}
	applied, err := c.Patch(t.Context(), "hello", types.ApplyPatchType, []byte(scale(5)), force)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := managersOf(applied), []string{"before-first-apply Update", "one Apply"}; !slices.Equal(got, want) {
		t.Errorf("applied: the managers are %q, want %q", got, want)
	}
	if _, err = c.Patch(t.Context(), "hello", types.ApplyPatchType, []byte(scale(6)),
		metav1.PatchOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		t.Errorf("another manager's apply: %v, want a conflict", err)
	}
	patched, err = c.Patch(t.Context(), "hello", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"c"}}}`),
		metav1.PatchOptions{FieldManager: "patcher"})
	if err != nil {
		t.Fatal(err)
	}
	if got := managersOf(patched); !slices.Contains(got, "patcher Update") || !slices.Contains(got, "one Apply") {
		t.Errorf("patched after that: the managers are %q, want patcher and one among them", got)
	}
}

func TestFieldsOfWhatKubectlAppliesAreTracked(t *testing.T) {
	c := objects(t, shared, "services", "kubectl-fields")
	o := object(t, service)
	o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
	made, err := c.Create(t.Context(), o, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := managersOf(made), []string{"kubectl-client-side-apply Update"}; !slices.Equal(got, want) {
		t.Errorf("the managers are %q, want %q", got, want)
	}
}
