package deployment

import (
	"context"
	"errors"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// write has the Deployment of a revision be as it should, and tries again later where that fails.
func (r *Runtime) write(ctx context.Context, revision model.Key) {
	r.mu.Lock()
	m := r.members[revision]
	if m == nil {
		r.mu.Unlock()
		return
	}
	w, removed := m.workload, m.removed
	r.mu.Unlock()
	var err error
	switch {
	case removed:
		err = r.remove(ctx, revision) // the HorizontalPodAutoscaler goes with its owner
	case w.HPA == nil:
		if err = r.dropScaler(ctx, w); err == nil { // first, or the two would undo each other's count
			err = r.apply(ctx, w)
		}
	default:
		if err = r.apply(ctx, w); err == nil {
			err = r.keepScaler(ctx, w)
		}
	}
	if ctx.Err() != nil {
		return
	}
	r.settle(revision, w.UID, err)
}

// settle notes the outcome of a write.
func (r *Runtime) settle(revision model.Key, uid string, err error) {
	f := refusal(err)
	r.mu.Lock()
	m := r.members[revision]
	if m != nil && m.workload.UID == uid {
		if m.removed && err == nil {
			delete(r.members, revision)
		}
		m.refused = f
	}
	r.mu.Unlock()
	r.reports.Add(revision)
	if err == nil {
		r.writes.Forget(revision)
		return
	}
	if f == nil && !apierrors.IsConflict(err) && !errors.Is(err, errReplaced) {
		r.log.Warn("cannot write a Deployment; trying again", "revision", revision, "error", err)
	}
	r.writes.AddRateLimited(revision)
}

// apply creates the Deployment of a workload or changes it.
func (r *Runtime) apply(ctx context.Context, w model.Workload) error {
	have, err := r.deployment(ctx, w.Revision)
	if err != nil || have == nil && w.Replicas == 0 {
		return err
	}
	if have != nil && !metav1.IsControlledBy(have, ownedBy(w)) {
		return r.replace(ctx, w, have)
	}
	want, err := r.wanted(w)
	if want == nil || err != nil {
		return err
	}
	if have == nil {
		return r.create(ctx, w, want)
	}
	if err := r.change(ctx, have, want); err != nil {
		return err
	}
	if scaled(w, have) {
		return nil
	}
	return r.scale(ctx, have, w.Replicas)
}

// scaled says that a Deployment has the replicas that it should have. They may be left to Kubernetes' autoscaler, which does nothing at 0.
func scaled(w model.Workload, d *appsv1.Deployment) bool {
	if d.Spec.Replicas == nil {
		return false
	}
	return int(*d.Spec.Replicas) == w.Replicas || w.HPA != nil && *d.Spec.Replicas > 0
}

// wanted returns the Deployment that a workload should have. It is nil when the Revision is gone, since Run is going to be called, and
// when the Revision is being deleted: with propagation Foreground it stays until its Deployment is gone, which must not come back.
func (r *Runtime) wanted(w model.Workload) (*appsv1.Deployment, error) {
	revision := r.options.Revision(w.Revision)
	if revision == nil || string(revision.UID) != w.UID || revision.DeletionTimestamp != nil {
		return nil, nil
	}
	d, err := Deployment(w, revision, r.config())
	if err != nil {
		return nil, &mistake{"InvalidRevision", err}
	}
	return d, nil
}

// change gives a Deployment the template that it should have, and leaves its replicas.
func (r *Runtime) change(ctx context.Context, have, want *appsv1.Deployment) error {
	if have.Annotations[HashAnnotation] == want.Annotations[HashAnnotation] {
		return nil
	}
	next := have.DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Labels, want.Labels) // of which it has some: they select it for the cache
	maps.Copy(next.Annotations, want.Annotations)
	next.Spec.Template, next.Spec.ProgressDeadlineSeconds = want.Spec.Template, want.Spec.ProgressDeadlineSeconds
	if err := r.client.Update(ctx, next); err != nil {
		return fmt.Errorf("changing Deployment %s: %w", have.Name, err)
	}
	return nil
}

// scale sets the replicas. It names no resourceVersion, so it waits for nothing: the newest decision counts.
func (r *Runtime) scale(ctx context.Context, d *appsv1.Deployment, replicas int) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}}
	if err := r.client.SubResource("scale").Patch(ctx, target, patch, client.WithSubResourceBody(&autoscalingv1.Scale{})); err != nil {
		return fmt.Errorf("scaling Deployment %s: %w", d.Name, err)
	}
	return nil
}

// create creates a Deployment. When one of that name exists, the cache is behind, or the Deployment is somebody else's.
func (r *Runtime) create(ctx context.Context, w model.Workload, want *appsv1.Deployment) error {
	err := r.client.Create(ctx, want)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			err = fmt.Errorf("creating Deployment %s: %w", want.Name, err)
		}
		return err
	}
	have := &appsv1.Deployment{}
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(want), have); err != nil {
		return fmt.Errorf("reading Deployment %s: %w", want.Name, err)
	}
	if metav1.IsControlledBy(have, ownedBy(w)) {
		return err // the cache learns of it
	}
	return r.replace(ctx, w, have)
}

// replace deletes the Deployment of an older revision of the same name, so that it can be created again. It leaves those of others alone.
func (r *Runtime) replace(ctx context.Context, w model.Workload, have *appsv1.Deployment) error {
	if !ofRevision(have) {
		const message = "there is a Deployment %s in namespace %s that Revision %s does not own: delete it, or name the revision otherwise"
		return &mistake{"NotOwned", fmt.Errorf(message,
			have.Name, have.Namespace, w.Revision.Name)}
	}
	if err := r.delete(ctx, have); err != nil {
		return err
	}
	return errReplaced
}

// errReplaced has a write be done again when the old Deployment is gone.
var errReplaced = errors.New("the Deployment of an older revision of this name had to be deleted first")

// remove deletes the Deployment of a revision that is gone. It asks the API server, because the cache may not have a new Deployment yet,
// and nothing calls remove again.
func (r *Runtime) remove(ctx context.Context, revision model.Key) error {
	have := &appsv1.Deployment{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: revision.Namespace, Name: Name(revision.Name)}, have)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading the Deployment of revision %s: %w", revision, err)
	case !ofRevision(have):
		return nil
	}
	return r.delete(ctx, have)
}

func (r *Runtime) delete(ctx context.Context, d *appsv1.Deployment) error {
	err := r.client.Delete(ctx, d, client.Preconditions{UID: &d.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Deployment %s: %w", d.Name, err)
	}
	return nil
}

// deployment returns the Deployment of a revision's name as the cache has it, nil when there is none.
func (r *Runtime) deployment(ctx context.Context, revision model.Key) (*appsv1.Deployment, error) {
	d := &appsv1.Deployment{}
	err := r.cache.Get(ctx, client.ObjectKey{Namespace: revision.Namespace, Name: Name(revision.Name)}, d)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Deployment of revision %s: %w", revision, err)
	}
	return d, nil
}

// ownedBy is the owner that the Deployment of a workload has.
func ownedBy(w model.Workload) *metav1.ObjectMeta { return &metav1.ObjectMeta{UID: types.UID(w.UID)} }

// ofRevision says whether a Revision owns an object.
func ofRevision(d metav1.Object) bool {
	owner := metav1.GetControllerOf(d)
	return owner != nil && owner.Kind == servingv1.KindRevision && owner.APIVersion == servingv1.GroupVersion.String()
}

// mistake is an error that the user has to correct. Its reason is for the conditions of the Revision.
type mistake struct {
	reason string
	error
}

// refusal returns the failure of a revision whose Deployment cannot be written; nil where writing it again is going to help.
func refusal(err error) *model.Failure {
	var own *mistake
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return &model.Failure{Reason: own.reason, Message: sentence(own.Error()), Lasting: true}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &model.Failure{Reason: "InvalidPod", Message: "Kubernetes refuses the Deployment: " + sentence(err.Error()), Lasting: true}
	case apierrors.IsForbidden(err):
		return &model.Failure{Reason: "Forbidden", Message: "Kubernetes refuses the Deployment: " + sentence(err.Error())}
	}
	return nil
}
