package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/events"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func (a *Adapter) setUpRoutes() error {
	b := ctrl.NewControllerManagedBy(a.manager).Named("route")
	if a.options.LocalGateway != "" {
		b = b.Watches(&corev1.Service{}, to(routeOf), builder.WithPredicates(worthALook))
	}
	return b.
		For(&servingv1.Route{}, builder.WithPredicates(a.bySomebodyElse(kindRoute))).
		Watches(&servingv1.Configuration{}, to(a.routesFollowing), builder.WithPredicates(whenChanged(latestOf))).
		Watches(&servingv1.Revision{}, to(a.routesServedBy), builder.WithPredicates(whenChanged(readiness))).
		Watches(&servingv1.Service{}, to(itself), builder.WithPredicates(onlyDeletion)).
		WatchesRawSource(a.routes.source()).
		WithOptions(retrying()).
		Complete(a.settling(kindRoute, a.reconcileRoute))
}

// latestOf returns the part of a Configuration that Routes depend on.
func latestOf(o client.Object) [3]string {
	c := o.(*servingv1.Configuration)
	return [3]string{c.Status.LatestCreatedRevisionName, c.Status.LatestReadyRevisionName, readinessOf(c.Status.Status)}
}

// readiness returns the part of a Revision that Routes depend on.
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
		a.assembler.RemoveRoute(key)
		a.changed.Drop(key)
		a.events.ForgetRoute(key)
		return ctrl.Result{}, nil
	}
	if gone, err := a.collected(ctx, route); gone || err != nil {
		return ctrl.Result{}, err
	}
	wanted, err := a.asServiceSays(ctx, route)
	if err != nil {
		return ctrl.Result{}, err
	}
	in, err := a.routeInput(ctx, wanted)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := rollout.Route(in)
	wait := a.publish(in, plan)
	a.barrier.Settle(model.Ref{Kind: kindRoute, Key: key}) // its status may follow later
	if !a.barrier.IsComplete() {
		return ctrl.Result{RequeueAfter: afterFirstWorld}, nil
	}
	problems, err := a.ensurePlaceholders(ctx, wanted, plan)
	if err != nil {
		return ctrl.Result{}, err
	}
	if wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if len(problems) > 0 {
		plan.Again = sooner(plan.Again, afterForeign)
	}
	plan.Conditions = a.withProblems(refOf(kindRoute, route), plan.Conditions, append(problems, convert.RouteProblems(wanted)...))
	again, err := a.writeRoute(ctx, route, wanted, plan, in.Now)
	if apierrors.IsInvalid(err) {
		a.tellRefusal(ctx, route, err)
	}
	return ctrl.Result{RequeueAfter: sooner(plan.Again, again)}, err
}

// withProblems returns the conditions of an object with the first of its problems in them, those of the newest World after the others.
func (a *Adapter) withProblems(owner model.Ref, conditions []model.Condition, problems []model.Problem) []model.Condition {
	if p, ok := a.problems.Get(owner); ok {
		problems = append(problems, p)
	}
	if len(problems) == 0 {
		return conditions
	}
	return rollout.WithProblem(conditions, problems[0])
}

// asServiceSays returns a Route as its Service wants it. It returns the Route itself when it is stored like that, when no Service owns it,
// or when it must not follow yet. So the data plane gets a change before the Route is written: it is served one write earlier, and that
// write can already say that it is in force.
func (a *Adapter) asServiceSays(ctx context.Context, route *servingv1.Route) (*servingv1.Route, error) {
	service, err := find[servingv1.Service](ctx, a.client, route.Namespace, route.Name)
	if service == nil || err != nil || service.DeletionTimestamp != nil || !metav1.IsControlledBy(route, service) {
		return route, err
	}
	f, err := a.familyOf(ctx, service)
	if err != nil {
		return nil, err
	}
	if f.take(route); !f.behind || !f.routeMayFollow() {
		return route, nil
	}
	return follow(route, convert.RouteOf(service)), nil
}

// follow returns the stored Route with the spec, labels and annotations of another, or the stored one itself when they are the same.
func follow(have, want *servingv1.Route) *servingv1.Route {
	same := equality.Semantic.DeepEqual(have.Spec, want.Spec)
	if same && sameLabels(have, want) {
		return have
	}
	next := have.DeepCopy()
	next.Labels, next.Annotations, next.Spec = want.Labels, want.Annotations, want.Spec
	if !same {
		next.Generation++ // as the API server will number it
	}
	return next
}

// publish hands a Route's rules to the data plane, and returns for how long the write of the Route should wait: until the gateways have
// acknowledged them, but for Patience at most. The state of a gradual rollout does not wait.
func (a *Adapter) publish(in rollout.RouteInput, plan rollout.RoutePlan) time.Duration {
	key := in.Route.Key
	unchanged := a.assembler.SetRoute(&model.Route{
		Key: key, Owner: model.Ref{Kind: kindRoute, Key: key}, Created: in.Route.Created, Rules: plan.Rules,
	})
	if !unchanged {
		a.changed.Put(key, in.Now)
	}
	since, known := a.changed.Get(key)
	inForce := unchanged && in.Programmed
	if !known || inForce || in.Options.DurationOf(in.Route) > 0 && plan.Rollout != in.Route.Rollout {
		return 0
	}
	return a.options.Patience - in.Now.Sub(since)
}

// routeInput reads the objects that a Route names: Configurations, their newest revisions, and revisions by name.
func (a *Adapter) routeInput(ctx context.Context, route *servingv1.Route) (rollout.RouteInput, error) {
	in := rollout.RouteInput{Route: convert.Route(route), Now: time.Now(), Options: a.settings.Load().Rollout}
	in.Current, in.Programmed = a.assembler.Current(in.Route.Key)
	var err error
	if in.Route.LocalTags, err = a.localTags(ctx, in); err != nil {
		return in, err
	}
	configurations, revisions := named(route)
	for _, name := range configurations {
		c, err := find[servingv1.Configuration](ctx, a.client, route.Namespace, name)
		if err != nil {
			return in, err
		}
		if c != nil {
			value := convert.Configuration(c)
			if err := a.lookBehind(ctx, value); err != nil {
				return in, err
			}
			in.Configurations = append(in.Configurations, value)
			revisions = append(revisions, value.LatestReady, value.LatestCreated)
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

// lookBehind handles a Configuration whose latest ready revision was deleted: it sets the one that the Configuration is about to change
// to. When the deleted revision exists again, it is a new one that has never been ready.
func (a *Adapter) lookBehind(ctx context.Context, c *model.Configuration) error {
	if c.LatestReady == "" {
		return nil
	}
	latest, err := find[servingv1.Revision](ctx, a.client, c.Key.Namespace, c.LatestReady)
	if err != nil {
		return err
	}
	if latest != nil {
		if r := convert.Revision(latest); r.WasReady || r.Ready.Status == model.True {
			return nil
		}
	}
	revisions, err := a.revisionsOf(ctx, c.Key.Namespace, c.Key.Name, "")
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(revisions, func(r *model.Revision) bool { return r.Key.Name == c.LatestReady })
	c.LatestReady = rollout.Configure(c, others).LatestReady
	return nil
}

// writeRoute stores the wanted Route with its status. It returns after what time there may be more to tell of the Route; 0 means never.
func (a *Adapter) writeRoute(ctx context.Context, route, wanted *servingv1.Route, plan rollout.RoutePlan,
	now time.Time) (time.Duration, error) {
	after := wanted.DeepCopy()
	if wanted != route && a.options.Put == nil {
		if err := a.client.Update(ctx, after); err != nil {
			return 0, fmt.Errorf("updating %s/%s: %w", route.Namespace, route.Name, err)
		}
	}
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, now)
	s.URL, s.Address = plan.URL, &servingv1.Addressable{URL: plan.Address}
	s.Traffic = convert.Traffic(plan.Traffic)
	s.Annotations = convert.WithRollout(s.Annotations, plan.Rollout)
	if wanted == route || a.options.Put == nil {
		if err := writeStatus(ctx, a, after, route.Status, after.Status); err != nil {
			return 0, err
		}
	} else if err := a.options.Put(ctx, after, true); err != nil {
		return 0, fmt.Errorf("writing %s/%s: %w", route.Namespace, route.Name, err)
	}
	a.wrote.Put(refOf(kindRoute, after), after.ResourceVersion)
	if !events.IsOwned(after) {
		a.events.Conditions(after, &route.Status.Status, &after.Status.Status, "Ready at "+after.Status.URL)
	}
	return a.events.Routed(route, after, now), nil
}
