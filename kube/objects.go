package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// object is a pointer to a kind of the API.
type object[T any] interface {
	*T
	client.Object
}

// find reads an object from the cache; nil when there is none. What it returns is shared: it must not be changed.
func find[T any, P object[T]](ctx context.Context, from client.Reader, namespace, name string) (P, error) {
	o := P(new(T))
	err := from.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s/%s: %w", namespace, name, err)
	}
	return o, nil
}

// owners are the kinds that own others, with the functions that read them.
var owners = map[string]func(context.Context, client.Reader, string, string) (client.Object, error){
	kindService:       findAny[servingv1.Service],
	kindConfiguration: findAny[servingv1.Configuration],
}

func findAny[T any, P object[T]](ctx context.Context, from client.Reader, namespace, name string) (client.Object, error) {
	o, err := find[T, P](ctx, from, namespace, name)
	if o == nil || err != nil {
		return nil, err
	}
	return o, nil
}

// collected deletes an object whose owner is gone, where no garbage collector runs. It reports whether the object is being deleted.
func (a *Adapter) collected(ctx context.Context, o client.Object) (bool, error) {
	if o.GetDeletionTimestamp() != nil {
		return true, nil
	}
	owner := metav1.GetControllerOf(o)
	if !a.options.CollectGarbage || owner == nil || owners[owner.Kind] == nil {
		return false, nil
	}
	// The cache may not have the owner yet, so the API server must confirm that it is gone.
	for _, reader := range []client.Reader{a.client, a.direct} {
		have, err := owners[owner.Kind](ctx, reader, o.GetNamespace(), owner.Name)
		if err != nil {
			return false, err
		}
		if have != nil && have.GetUID() == owner.UID {
			return false, nil
		}
	}
	a.log.Debug("deleting an object whose owner is gone",
		"namespace", o.GetNamespace(), "name", o.GetName(), "owner", owner.Kind+" "+owner.Name)
	return true, a.remove(ctx, o)
}

// remove deletes this object, and not another one that has its name by now.
func (a *Adapter) remove(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	err := a.client.Delete(ctx, o, client.Preconditions{UID: &uid})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// ensure stores want: it creates it, or updates have when spec, labels or annotations differ; same compares the specs. It returns the
// stored object.
func ensure[T any, P object[T]](ctx context.Context, a *Adapter, have, want P, same func(have, want P) bool) (P, error) {
	if have == nil {
		if err := a.client.Create(ctx, want); err != nil {
			return nil, fmt.Errorf("creating %s/%s: %w", want.GetNamespace(), want.GetName(), err)
		}
		return want, nil
	}
	if same(have, want) && sameLabels(have, want) {
		return have, nil
	}
	want.SetResourceVersion(have.GetResourceVersion())
	want.SetUID(have.GetUID())
	want.SetFinalizers(have.GetFinalizers()) // which belong to others
	want.SetOwnerReferences(withOthers(want.GetOwnerReferences(), have.GetOwnerReferences()))
	if err := a.client.Update(ctx, want); err != nil {
		return nil, fmt.Errorf("updating %s/%s: %w", have.GetNamespace(), have.GetName(), err)
	}
	return want, nil
}

// withOthers returns our references to owners, with those that others have added.
func withOthers(ours, all []metav1.OwnerReference) []metav1.OwnerReference {
	merged := slices.Clone(ours)
	for _, r := range all {
		if !slices.ContainsFunc(ours, func(o metav1.OwnerReference) bool { return o.UID == r.UID }) {
			merged = append(merged, r)
		}
	}
	return merged
}

// sameLabels compares labels and annotations.
func sameLabels(a, b client.Object) bool {
	return equality.Semantic.DeepEqual(a.GetLabels(), b.GetLabels()) && equality.Semantic.DeepEqual(a.GetAnnotations(), b.GetAnnotations())
}

// writeStatus writes the status of after when it differs from before's.
func writeStatus[S any](ctx context.Context, a *Adapter, after client.Object, was, is S) error {
	if equality.Semantic.DeepEqual(was, is) {
		return nil
	}
	write := func() error { return a.client.Status().Update(ctx, after) }
	if a.options.Put != nil {
		write = func() error { return a.options.Put(ctx, after, false) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("writing the status of %s/%s: %w", after.GetNamespace(), after.GetName(), err)
	}
	return nil
}

// outcome turns the error of a lost race into a retry: another client has changed the object, and the cache will have the change in a
// moment. While the API server has no store, it retries from time to time.
func outcome(result ctrl.Result, err error) (ctrl.Result, error) {
	if err == nil {
		return result, nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return ctrl.Result{RequeueAfter: afterOutage}, nil // nothing can be made there, and the object itself is deleted soon
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		switch status.Status().Reason {
		case metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists, metav1.StatusReasonNotFound:
			return ctrl.Result{RequeueAfter: afterConflict}, nil
		case metav1.StatusReasonServiceUnavailable:
			return ctrl.Result{RequeueAfter: afterOutage}, nil
		}
	}
	return ctrl.Result{}, err
}
