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

// defaulting is an admission plugin that does what Knative's webhook does in a cluster.
type defaulting struct {
	// scaling checks the autoscaling annotations of a template; nil for no check.
	scaling func(annotations map[string]string) error
}

var (
	_ admission.MutationInterface   = defaulting{}
	_ admission.ValidationInterface = defaulting{}
)

// Handles implements admission.Interface: the plugin handles creates, updates and deletes.
func (defaulting) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update || op == admission.Delete
}

// Admit fills in what the user left out. It passes an object that it cannot read: the error of the schema is better.
func (d defaulting) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if u, ok := a.GetObject().(*unstructured.Unstructured); ok {
		dropUntrackedFields(u)
	}
	obj, old := typed(a, a.GetObject()), typed(a, a.GetOldObject())
	if obj == nil {
		return nil
	}
	if _, ok := obj.(*servingv1.Revision); ok && old != nil {
		return nil // immutable: the stored spec stays as it is even if defaults have changed
	}
	// Checked before the schema, which has the same rules with other messages.
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

// dropUntrackedFields removes managedFields from an object until its first apply. The first server-side apply then finds all
// earlier fields managed by "before-first-apply". Nothing else reads managedFields, and they are half of an object's bytes and
// an eighth of the cost of a write. They stay after a client-side apply too, since kubectl reads them when it changes to
// server-side apply.
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

// Validate checks the rules that a schema cannot express.
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

// refuseOrphans refuses to delete an owner without the objects that it owns: the controllers here delete every object whose
// owner does not exist.
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
	return apierrors.NewBadRequest(fmt.Sprintf("cannot delete a %s without the objects that it owns (--cascade=orphan): "+
		"nothing was deleted. Delete it together with them, or keep it", kind))
}

// typed returns o as its Go type. It returns nil for other kinds, for a status, and for an object that does not fit the type.
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
