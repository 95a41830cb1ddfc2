package apiserver

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"sluice.dev/sluice/crds"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// defaulting is the admission plugin: it does in the process what a webhook would do in a cluster.
type defaulting struct {
	// scaling says what is wrong with the autoscaling annotations of a template; nil where nobody knows.
	scaling func(annotations map[string]string) error
}

var (
	_ admission.MutationInterface   = defaulting{}
	_ admission.ValidationInterface = defaulting{}
)

// Handles says that creates, updates and deletes are looked at, by whatever verb they come.
func (defaulting) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Admit fills in what the user left out. What cannot be read is left to the schema, which says better what is wrong.
func (d defaulting) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if u, ok := a.GetObject().(*unstructured.Unstructured); ok {
		dropUntrackedFields(u)
	}
	obj, old := typed(a, a.GetObject()), typed(a, a.GetOldObject())
	if obj == nil {
		return nil
	}
	if _, ok := obj.(*servingv1.Revision); ok && old != nil {
		return nil // immutable: what is stored stays, whatever the defaults have become since
	}
	// Before the schema is asked, which knows the same rules and says them in other words.
	if errs := d.wrongScaling(obj); len(errs) > 0 {
		return apierrors.NewInvalid(a.GetKind().GroupKind(), obj.GetName(), errs)
	}
	crds.Default(obj, old, a.GetUserInfo().GetName())
	defaulted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return fmt.Errorf("defaulting %s %s: %w", a.GetKind().Kind, a.GetName(), err)
	}
	u := a.GetObject().(*unstructured.Unstructured)
	u.Object["spec"] = defaulted["spec"]
	u.SetAnnotations(obj.GetAnnotations())
	return nil
}

// dropUntrackedFields has nobody keep account of who set which field until somebody applies the object on the server's side,
// who then finds all of it set by "before-first-apply". Nobody else reads it, it is half of an object's bytes, and to keep it
// is an eighth of what a write costs. What kubectl applies on its own side is kept account of, since
// kubectl goes by that when it goes over to the server's side.
func dropUntrackedFields(u *unstructured.Unstructured) {
	metadata, ok := u.Object["metadata"].(map[string]any)
	if !ok {
		return
	}
	if _, applied := u.GetAnnotations()[servingv1.LastAppliedAnnotation]; applied {
		return
	}
	managers, _ := metadata["managedFields"].([]any)
	for _, m := range managers {
		if entry, ok := m.(map[string]any); !ok || entry["operation"] == string(metav1.ManagedFieldsOperationApply) {
			return
		}
	}
	delete(metadata, "managedFields")
}

func (d defaulting) wrongScaling(obj crds.Object) field.ErrorList {
	if d.scaling == nil {
		return nil
	}
	return crds.CheckScaling(obj, d.scaling)
}

// Validate holds the rules that a schema cannot.
func (defaulting) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetOperation() == admission.Delete {
		return refuseOrphans(a)
	}
	obj := typed(a, a.GetObject())
	if obj == nil {
		return nil
	}
	if errs := crds.Validate(obj); len(errs) > 0 {
		return apierrors.NewInvalid(a.GetKind().GroupKind(), obj.GetName(), errs)
	}
	return nil
}

// refuseOrphans refuses to delete an owner without what it owns: whoever collects garbage here goes by whether the owner is there.
func refuseOrphans(a admission.Attributes) error {
	kind := a.GetKind().Kind
	options, ok := a.GetOperationOptions().(*metav1.DeleteOptions)
	if !ok || a.GetKind().GroupVersion() != servingv1.GroupVersion || kind != servingv1.KindService && kind != servingv1.KindConfiguration {
		return nil
	}
	orphan := options.PropagationPolicy != nil && *options.PropagationPolicy == metav1.DeletePropagationOrphan
	//nolint:staticcheck // old clients still send it
	if orphan = orphan || options.OrphanDependents != nil && *options.OrphanDependents; !orphan {
		return nil
	}
	return apierrors.NewBadRequest(fmt.Sprintf("a %s cannot be deleted without what it owns (--cascade=orphan): nothing was deleted. Delete it with what it owns, or keep it", kind))
}

// typed returns o as a type of ours, or nil: for other kinds, for a status, and for what does not fit the type.
func typed(a admission.Attributes, o runtime.Object) crds.Object {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || a.GetSubresource() != "" || a.GetKind().GroupVersion() != servingv1.GroupVersion {
		return nil
	}
	obj := crds.New(a.GetKind().Kind)
	if obj == nil {
		return nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil
	}
	return obj
}
