package kube

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// beforeStatus is how long the status of a changed Route waits for the gateways to acknowledge the change.
const beforeStatus = 50 * time.Millisecond

func (a *Adapter) setUpRoutes() error {
	return ctrl.NewControllerManagedBy(a.manager).Named("route").
		For(&servingv1.Route{}).
		Watches(&servingv1.Configuration{}, to(a.routesFollowing), builder.WithPredicates(whenChanged(latestOf))).
		Watches(&servingv1.Revision{}, to(a.routesServedBy), builder.WithPredicates(whenChanged(readiness))).
		Watches(&servingv1.Service{}, to(itself), builder.WithPredicates(onlyDeletion)).
		WatchesRawSource(a.routes.source()).
		Complete(a.settling(kindRoute, a.reconcileRoute))
}

// latestOf is what of a Configuration matters to Routes.
func latestOf(o client.Object) [3]string {
	c := o.(*servingv1.Configuration)
	return [3]string{c.Status.LatestCreatedRevisionName, c.Status.LatestReadyRevisionName, readinessOf(c.Status.Status)}
}

// readiness is what of a Revision matters to Routes.
func readiness(o client.Object) string { return readinessOf(o.(*servingv1.Revision).Status.Status) }

func readinessOf(s servingv1.Status) string {
	if c := s.Condition(servingv1.ConditionReady); c != nil {
		return string(c.Status)
	}
	return ""
}

func (a *Adapter) reconcileRoute(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	key := model.Key{Namespace: r.Namespace, Name: r.Name}
	route, err := find[servingv1.Route](ctx, a.client, r.Namespace, r.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if route == nil {
		a.assembler.removeRoute(key)
		return ctrl.Result{}, nil
	}
	if gone, err := a.collected(ctx, route); gone || err != nil {
		return ctrl.Result{}, err
	}
	in, err := a.routeInput(ctx, route)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := rollout.Route(in)
	unchanged := a.assembler.setRoute(&model.Route{
		Key: key, Owner: model.Ref{Kind: kindRoute, Key: key}, Created: route.CreationTimestamp.Time, Rules: plan.Rules,
	})
	a.assembler.settle(model.Ref{Kind: kindRoute, Key: key}) // whatever becomes of its status
	if !a.assembler.isComplete() {
		return ctrl.Result{RequeueAfter: afterFirstWorld}, nil
	}
	if !unchanged && plan.Rollout == in.Route.Rollout {
		// The acknowledgement comes within milliseconds as a rule: one status then tells the change and that it is in force.
		return ctrl.Result{RequeueAfter: beforeStatus}, nil
	}
	problems := convert.RouteProblems(route)
	if p, ok := a.problems.get(refOf(kindRoute, route)); ok {
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		plan.Conditions = rollout.WithProblem(plan.Conditions, problems[0])
	}
	return ctrl.Result{RequeueAfter: plan.Again}, a.writeRouteStatus(ctx, route, plan, in.Now)
}

// routeInput reads what a Route names: Configurations, their newest revisions, and revisions by name.
func (a *Adapter) routeInput(ctx context.Context, route *servingv1.Route) (rollout.RouteInput, error) {
	in := rollout.RouteInput{Route: convert.Route(route), Now: time.Now(), Options: a.options.Rollout}
	in.Current, in.Programmed = a.assembler.current(in.Route.Key)
	configurations, revisions := named(route)
	for _, name := range configurations {
		c, err := find[servingv1.Configuration](ctx, a.client, route.Namespace, name)
		if err != nil {
			return in, err
		}
		if c != nil {
			in.Configurations = append(in.Configurations, convert.Configuration(c))
			revisions = append(revisions, c.Status.LatestReadyRevisionName, c.Status.LatestCreatedRevisionName)
		}
	}
	seen := map[string]bool{"": true}
	for _, name := range revisions {
		if seen[name] {
			continue
		}
		seen[name] = true
		revision, err := find[servingv1.Revision](ctx, a.client, route.Namespace, name)
		if err != nil {
			return in, err
		}
		if revision != nil {
			in.Revisions = append(in.Revisions, convert.Revision(revision))
		}
	}
	return in, nil
}

func (a *Adapter) writeRouteStatus(ctx context.Context, route *servingv1.Route, plan rollout.RoutePlan, now time.Time) error {
	after := route.DeepCopy()
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, now)
	s.URL, s.Address = plan.URL, &servingv1.Addressable{URL: plan.Address}
	s.Traffic = convert.Traffic(plan.Traffic)
	s.Annotations = convert.WithRollout(s.Annotations, plan.Rollout)
	return writeStatus(ctx, a, after, route.Status, after.Status)
}
