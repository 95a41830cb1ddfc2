package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func uid(s string) types.UID { return types.UID(s) }

// labelDelay is for how long changes of Routes are gathered before a Revision's labels follow them.
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
		WatchesRawSource(a.revisions.source()).
		Complete(reconcile.Func(func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
			result, err := a.reconcileRevision(ctx, r)
			if key := (model.Key{Namespace: r.Namespace, Name: r.Name}); err == nil && !a.starting(key) {
				a.assembler.settle(model.Ref{Kind: kindRevision, Key: key})
			}
			return outcome(result, err)
		}))
}

// starting says that the runtime was given a revision and has not said yet how it fares. The first World waits for those
// too, or after a restart requests would find routes to nobody.
func (a *Adapter) starting(key model.Key) bool {
	if _, running := a.running.get(key); !running {
		return false
	}
	status, reported := a.workloads.get(key)
	return !reported || len(status.Ready) == 0 && status.Failure == nil
}

// mentions is a fingerprint of what a Route names.
func mentions(o client.Object) string {
	configurations, revisions := named(o.(*servingv1.Route))
	return fmt.Sprint(configurations, revisions)
}

// latestNames are the revisions that a Configuration made last, and has its requests go to.
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
		// First nobody is sent there any more, then it stops.
		a.assembler.removeBackend(key)
		a.options.Run(model.Workload{Revision: key})
		a.running.drop(key)
		a.workloads.drop(key)
		return ctrl.Result{}, nil
	}
	if gone, err := a.collected(ctx, revision); gone || err != nil {
		return ctrl.Result{}, err
	}
	again, err := a.runRevision(ctx, revision)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, a.labelRevision(ctx, revision)
}

// runRevision has the runtime run the revision, tells the assembler where it is reached, and writes the status.
func (a *Adapter) runRevision(ctx context.Context, revision *servingv1.Revision) (time.Duration, error) {
	value := convert.Revision(revision)
	workload, problems := convert.Workload(revision)
	problems = append(problems, convert.RevisionProblems(revision)...)
	in := rollout.RevisionInput{Revision: value, Replicas: workload.Replicas, Now: time.Now()}
	if len(problems) > 0 {
		in.Blocked = &problems[0]
	} else if p, ok := a.problems.get(refOf(kindRevision, revision)); ok {
		in.Blocked = &p
	}
	if status, ok := a.workloads.get(value.Key); ok && status.UID == value.UID {
		in.Workload = &status
	}
	if len(problems) == 0 {
		a.running.put(value.Key, value.UID)
		a.options.Run(workload)
	}
	a.assembler.setBackend(backendOf(value, in.Workload))
	plan := rollout.Revision(in)
	after := revision.DeepCopy()
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, in.Now)
	s.ContainerStatuses = convert.ContainerStatuses(revision)
	s.DesiredReplicas = new(int32(workload.Replicas))
	s.ActualReplicas = new(int32(0))
	if in.Workload != nil {
		s.ActualReplicas = new(int32(len(in.Workload.Ready)))
	}
	return plan.Again, writeStatus(ctx, a, after, revision.Status, after.Status)
}

func backendOf(revision *model.Revision, workload *model.WorkloadStatus) *model.Backend {
	b := &model.Backend{
		Revision: revision.Key, Owner: model.Ref{Kind: kindRevision, Key: revision.Key},
		Protocol: revision.Protocol, Via: model.ViaReplicas,
	}
	if workload != nil {
		b.Endpoints = workload.Ready
	}
	return b
}

// labelRevision writes on the revision which Routes name it. A patch, because nothing else of it may change.
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

// whoNames lists the Routes that name a revision, itself or by its Configuration, and that Configuration.
func (a *Adapter) whoNames(ctx context.Context, revision *servingv1.Revision) ([]*model.RouteSpec, []*model.Configuration, error) {
	configuration := revision.Labels[servingv1.ConfigurationLabel]
	seen := map[string]bool{}
	var routes []*model.RouteSpec
	for index, name := range map[string]string{indexRevision: revision.Name, indexConfiguration: configuration} {
		var list servingv1.RouteList
		if err := a.client.List(ctx, &list, client.InNamespace(revision.Namespace), client.MatchingFields{index: name}); err != nil {
			return nil, nil, err
		}
		for i := range list.Items {
			if r := &list.Items[i]; !seen[r.Name] {
				seen[r.Name] = true
				routes = append(routes, convert.Route(r))
			}
		}
	}
	c, err := find[servingv1.Configuration](ctx, a.client, revision.Namespace, configuration)
	if err != nil || c == nil {
		return routes, nil, err
	}
	return routes, []*model.Configuration{convert.Configuration(c)}, nil
}
