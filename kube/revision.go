package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/fleet"
	"sluice.dev/sluice/kube/images"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func uid(s string) types.UID { return types.UID(s) }

// labelDelay is for how long changes of Routes are collected before the labels of a Revision follow them.
const labelDelay = time.Second

func (a *Adapter) setUpRevisions() error {
	namedByRoute := func(_ context.Context, o client.Object) []string {
		_, revisions := named(o.(*servingv1.Route))
		return revisions
	}
	return ctrl.NewControllerManagedBy(a.manager).Named("revision").
		For(&servingv1.Revision{}).
		// Labels say which Routes name a revision; nothing waits for them.
		Watches(&servingv1.Route{}, within(labelDelay, namedByRoute), builder.WithPredicates(whenChanged(mentions))).
		Watches(&servingv1.Configuration{}, within(labelDelay, latestRevisions), builder.WithPredicates(whenChanged(latestNames))).
		Watches(&servingv1.Configuration{}, to(a.revisionsMadeBy), builder.WithPredicates(onlyDeletion)).
		Watches(&autoscalingv1alpha1.RevisionScale{}, to(itself), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&autoscalingv1alpha1.ScalingSchedule{}, to(a.revisionsOnSchedule), builder.WithPredicates(whenChanged(specOf))).
		Watches(&servingv1.Service{}, to(a.revisionsMadeBy), builder.WithPredicates(whenChanged(labelsOf))).
		WatchesRawSource(a.revisions.source()).
		WithOptions(retrying()).
		Complete(a.settling(kindRevision, a.reconcileRevision))
}

// specOf identifies the spec of an object.
func specOf(o client.Object) string { return fmt.Sprint(o.GetUID(), o.GetGeneration()) }

// mentions is a fingerprint of the objects that a Route names.
func mentions(o client.Object) string {
	configurations, revisions := named(o.(*servingv1.Route))
	return fmt.Sprint(configurations, revisions)
}

// latestNames returns the latest created and the latest ready revision of a Configuration.
func latestNames(o client.Object) [2]string {
	s := o.(*servingv1.Configuration).Status
	return [2]string{s.LatestCreatedRevisionName, s.LatestReadyRevisionName}
}

func latestRevisions(_ context.Context, o client.Object) []string {
	names := latestNames(o)
	return slices.DeleteFunc(names[:], func(name string) bool { return name == "" })
}

func (a *Adapter) revisionsMadeBy(ctx context.Context, o client.Object) []string {
	revisions, err := a.revisionsOf(ctx, o.GetNamespace(), o.GetName(), "")
	if err != nil {
		a.log.Error("cannot list revisions", "configuration", o.GetName(), "error", err)
	}
	names := make([]string, len(revisions))
	for i, r := range revisions {
		names[i] = r.Key.Name
	}
	return names
}

func (a *Adapter) reconcileRevision(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	key := model.Key{Namespace: r.Namespace, Name: r.Name}
	revision, err := find[servingv1.Revision](ctx, a.client, r.Namespace, r.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if revision == nil {
		return a.endRevision(key), a.endScale(ctx, key.Namespace, key.Name)
	}
	a.leaving.Drop(key)
	if gone, err := a.collected(ctx, revision); gone || err != nil {
		return ctrl.Result{}, err
	}
	again, err := a.runRevision(ctx, revision)
	if err != nil || !a.barrier.IsComplete() {
		return ctrl.Result{RequeueAfter: again}, err
	}
	return ctrl.Result{RequeueAfter: again}, a.labelRevision(ctx, revision)
}

// endRevision stops a deleted revision when no gateway has a route to it any more. Routes change to another revision within a moment. A
// Route that still names it after leavePatience has no other.
func (a *Adapter) endRevision(key model.Key) ctrl.Result {
	since, known := a.leaving.Get(key)
	if !known {
		since = time.Now()
		a.leaving.Put(key, since)
	}
	if a.assembler.MayGetRequests(key) && time.Since(since) < leavePatience {
		return ctrl.Result{RequeueAfter: leavePoll}
	}
	a.leaving.Drop(key)
	a.events.ForgetRevision(key)
	a.images.Forget(key)
	a.fleet.Remove(key)
	a.options.Scale.Remove(key)
	return ctrl.Result{}
}

// leavePatience is how long a deleted revision runs on for Routes that name it; leavePoll is how often that is checked.
const (
	leavePatience = 5 * time.Second
	leavePoll     = 10 * time.Millisecond
)

// notResolved is the reason of a revision whose image cannot be resolved, as in Knative.
const notResolved = "ContainerMissing"

// resolve returns a revision with its images by digest in the status, and stores them there before they are used for the first time.
func (a *Adapter) resolve(ctx context.Context, revision *servingv1.Revision) (*servingv1.Revision, images.Found, error) {
	f := a.images.Of(revision)
	resolved := images.With(revision, f.Images)
	if f.Store {
		if err := writeStatus(ctx, a, resolved, revision.Status, resolved.Status); err != nil {
			return nil, f, err
		}
	}
	return resolved, f, nil
}

// runRevision has the revision run and scaled, and writes its status.
func (a *Adapter) runRevision(ctx context.Context, stored *servingv1.Revision) (time.Duration, error) {
	revision, found, err := a.resolve(ctx, stored)
	if err != nil {
		return 0, err
	}
	value := convert.Revision(revision)
	workload, problems := convert.Workload(revision)
	problems = append(problems, a.revisionProblems(revision, found)...)
	scaled, scale, err := a.scaled(ctx, revision)
	if err != nil {
		return 0, err
	}
	runnable := len(problems) == 0 && found.Images != nil
	plan := fleet.Plan{Scaled: scaled, Workload: workload, Runnable: runnable, Backend: backendOf(value, &workload)}
	a.tasks(revision, &plan)
	if a.fleet.Set(plan) {
		a.options.Scale.Set(plan.Scaled)
	}
	state := a.fleet.Get(value.Key, value.UID)
	if state.Decision == nil {
		return found.Again, nil // it comes at once, and enqueues the revision; the autoscaler resumes from the status as it is until then
	}
	if !a.barrier.IsComplete() {
		return afterFirstWorld, nil
	}
	in := rollout.RevisionInput{
		Revision: value, Replicas: state.Replicas, Decision: state.Decision, Workload: state.Status, Now: time.Now(),
		ProgressDeadline: a.settings.Load().Rollout.ProgressDeadline,
		Resolving:        found.Images == nil,
	}
	if len(problems) > 0 {
		in.Blocked = &problems[0]
	} else if p, ok := a.problems.Get(refOf(kindRevision, revision)); ok {
		if p.Reason == model.ResourceRejected {
			in.Rejected = &p
		} else {
			in.Blocked = &p
		}
	}
	before := stored.Status
	if found.Store {
		before = revision.Status // which resolve has written
	}
	if err := a.keepScale(ctx, revision, scale, state); err != nil {
		return 0, err
	}
	again, err := a.writeRevisionStatus(ctx, revision, before, in, state)
	return sooner(again, found.Again), err
}

// tasks has the requests of a revision be tasks where its class says so. A replica without a concurrency limit then takes one at a time.
func (a *Adapter) tasks(revision *servingv1.Revision, plan *fleet.Plan) {
	if a.options.Scale.Tasks == nil {
		return
	}
	yes, maxWaiting := a.options.Scale.Tasks(revision.Annotations)
	if !yes {
		return
	}
	plan.Backend.Tasks, plan.Backend.MaxWaiting = true, maxWaiting
	for _, concurrency := range []*int{&plan.Scaled.Concurrency, &plan.Workload.Concurrency, &plan.Backend.Concurrency} {
		*concurrency = max(1, *concurrency)
	}
}

// scaled returns what the autoscaler must know of a Revision, and its RevisionScale, if it has one.
func (a *Adapter) scaled(ctx context.Context, revision *servingv1.Revision) (
	s model.Scaled, scale *autoscalingv1alpha1.RevisionScale, err error) {
	if scale, err = a.scaleOf(ctx, revision); err != nil {
		return s, nil, err
	}
	s = convert.Scaled(revision)
	s.Asked = askedIn(scale)
	s.Schedules, err = a.schedulesOf(ctx, revision)
	return s, scale, err
}

// sooner returns the shorter of two times after which a revision is reconciled again; 0 means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// writeRevisionStatus writes the status of a revision where it differs from the one before.
func (a *Adapter) writeRevisionStatus(ctx context.Context, revision *servingv1.Revision, before servingv1.RevisionStatus,
	in rollout.RevisionInput, state fleet.State) (time.Duration, error) {
	plan := rollout.Revision(in)
	after := revision.DeepCopy()
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, in.Now)
	s.DesiredReplicas = new(int32(state.Replicas))
	if state.Why != "" {
		s.Annotations = maps.Clone(s.Annotations)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[servingv1.ScaleWhyAnnotation] = state.Why
		if delete(s.Annotations, servingv1.ScaleSignalsAnnotation); len(state.Asked) > 0 {
			s.Annotations[servingv1.ScaleSignalsAnnotation] = strings.Join(state.Asked, "\n")
		}
	}
	s.ActualReplicas = new(int32(0))
	if state.Status != nil {
		s.ActualReplicas = new(int32(len(state.Status.Ready)))
	}
	if err := writeStatus(ctx, a, after, before, after.Status); err != nil {
		return 0, err
	}
	a.events.Conditions(after, &before.Status, &after.Status.Status, "The revision is ready")
	return sooner(plan.Again, a.events.Scaled(revision, state.Replicas, state.Why, in.Now)), nil
}

// revisionProblems returns why a revision cannot run, besides what is wrong with its containers.
func (a *Adapter) revisionProblems(revision *servingv1.Revision, f images.Found) []model.Problem {
	var problems []model.Problem
	if f.Problem != "" && f.Images == nil {
		problems = append(problems, model.Problem{Owner: refOf(kindRevision, revision), Reason: notResolved, Message: f.Problem})
	}
	problems = append(problems, convert.FeatureProblems(revision, a.options.Feature)...)
	if a.options.Unsupported != nil {
		problems = append(problems, a.options.Unsupported(revision)...)
	}
	return append(problems, a.annotationProblems(revision)...)
}

// annotationProblems returns the invalid annotations of a revision. With admission there are none.
func (a *Adapter) annotationProblems(revision *servingv1.Revision) []model.Problem {
	problems := convert.RevisionProblems(revision)
	if err := a.options.Scale.Check(revision.Annotations); err != nil {
		problems = append(problems, model.Problem{Owner: refOf(kindRevision, revision), Reason: "InvalidAnnotation", Message: err.Error()})
	}
	return problems
}

func backendOf(revision *model.Revision, workload *model.Workload) model.Backend {
	return model.Backend{
		Revision: revision.Key, Owner: model.Ref{Kind: kindRevision, Key: revision.Key},
		Protocol: revision.Protocol, Direct: workload.Direct, Concurrency: workload.Concurrency, Timeout: workload.Timeout,
	}
}

// labelRevision writes the labels that say which Routes name the revision. It patches, because nothing else may change.
func (a *Adapter) labelRevision(ctx context.Context, revision *servingv1.Revision) error {
	routes, configurations, err := a.whoNames(ctx, revision)
	if err != nil {
		return err
	}
	for _, l := range rollout.Label(routes, configurations, []*model.Revision{convert.Revision(revision)}, time.Now()) {
		labels, annotations := convert.RoutingLabels(l.Routing, l.Since, l.Routes)
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
		if err != nil {
			return fmt.Errorf("labelling revision %s: %w", revision.Name, err)
		}
		if err := a.client.Patch(ctx, revision.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
			return fmt.Errorf("labelling revision %s: %w", revision.Name, err)
		}
	}
	return nil
}

// whoNames lists the Routes that name a revision or its Configuration, and that Configuration.
func (a *Adapter) whoNames(ctx context.Context, revision *servingv1.Revision) ([]*model.RouteSpec, []*model.Configuration, error) {
	named, err := a.routesNaming(ctx, revision.Namespace, namesOf(revision))
	if err != nil {
		return nil, nil, err
	}
	routes := make([]*model.RouteSpec, len(named))
	for i, r := range named {
		routes[i] = convert.Route(r)
	}
	c, err := find[servingv1.Configuration](ctx, a.client, revision.Namespace, revision.Labels[servingv1.ConfigurationLabel])
	if err != nil || c == nil {
		return routes, nil, err
	}
	return routes, []*model.Configuration{convert.Configuration(c)}, nil
}
