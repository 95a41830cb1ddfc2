package kube

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// afterConflict is how long to wait for the cache to catch up with a write that it has not seen.
const afterConflict = 5 * time.Millisecond

// afterOutage is how long to wait for the API to have its store again.
const afterOutage = 2 * time.Second

func (a *Adapter) setUpServices() error {
	return ctrl.NewControllerManagedBy(a.manager).Named("service").
		For(&servingv1.Service{}, builder.WithPredicates(a.bySomebodyElse(kindService))).
		// By name, not by owner: when somebody else's object of that name goes, it is the Service's turn.
		Watches(&servingv1.Configuration{}, to(itself)).
		Watches(&servingv1.Route{}, to(itself)).
		WatchesRawSource(a.services.source()).
		WithOptions(retrying()).
		Complete(a.onceComplete(a.reconcileService))
}

// family is a Service with the two objects that it owns, as objects and as values.
type family struct {
	service       *servingv1.Service
	configuration *servingv1.Configuration
	route         *servingv1.Route
	behind        bool // the Route is not what the Service says
	revisions     []*model.Revision
}

func (f *family) input() rollout.ServiceInput {
	in := rollout.ServiceInput{Service: convert.Service(f.service), Revisions: f.revisions}
	if f.configuration != nil {
		in.Configuration = convert.Configuration(f.configuration)
	}
	if f.route != nil {
		in.Route = convert.Route(f.route)
		if f.behind {
			in.Route.Generation++ // the one that was not observed yet
		}
	}
	return in
}

// take has a Route be that of the family.
func (f *family) take(route *servingv1.Route) {
	f.route = route
	f.behind = route != nil && metav1.IsControlledBy(route, f.service) && follow(route, convert.RouteOf(f.service)) != route
}

// routeMayFollow says that the Route may be what the Service says: the Configuration is so already, and which revision traffic
// would go to is known.
func (f *family) routeMayFollow() bool {
	want := convert.ConfigurationOf(f.service)
	return f.configuration != nil && equality.Semantic.DeepEqual(f.configuration.Spec, want.Spec) && sameLabels(f.configuration, want) &&
		!rollout.Service(f.input()).KeepRoute
}

// familyOf reads what belongs to a Service.
func (a *Adapter) familyOf(ctx context.Context, service *servingv1.Service) (f *family, err error) {
	f = &family{service: service}
	if f.configuration, err = find[servingv1.Configuration](ctx, a.client, service.Namespace, service.Name); err != nil {
		return nil, err
	}
	route, err := find[servingv1.Route](ctx, a.client, service.Namespace, service.Name)
	if err != nil {
		return nil, err
	}
	f.take(route)
	f.revisions, err = a.revisionsOf(ctx, service.Namespace, service.Name, service.Spec.Template.Metadata.Name)
	return f, err
}

func (a *Adapter) reconcileService(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	service, err := find[servingv1.Service](ctx, a.client, r.Namespace, r.Name)
	if service == nil {
		key := model.Key{Namespace: r.Namespace, Name: r.Name}
		a.announced.drop(key)
		a.fresh.drop(key)
	}
	if err != nil || service == nil || service.DeletionTimestamp != nil {
		return ctrl.Result{}, err
	}
	f, err := a.familyOf(ctx, service)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := a.ensureOwned(ctx, f); err != nil {
		return ctrl.Result{}, err
	}
	plan := rollout.Service(f.input())
	if wait := a.mayWait(service, plan, time.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{}, a.writeServiceStatus(ctx, f, plan)
}

// ensureOwned makes the Configuration be what the Service says, and sees to it that there is a Route once it is known which
// revision it would lead to. A Route that is there is its controller's, which has it follow.
func (a *Adapter) ensureOwned(ctx context.Context, f *family) (err error) {
	if !rollout.Service(f.input()).KeepConfiguration {
		f.configuration, err = ensure(ctx, a, f.configuration, convert.ConfigurationOf(f.service), func(have, want *servingv1.Configuration) bool {
			return equality.Semantic.DeepEqual(have.Spec, want.Spec)
		})
		if err != nil {
			return err
		}
	}
	switch {
	case rollout.Service(f.input()).KeepRoute:
	case f.route == nil:
		f.route = convert.RouteOf(f.service)
		if err := a.client.Create(ctx, f.route); err != nil {
			return fmt.Errorf("creating %s/%s: %w", f.route.Namespace, f.route.Name, err)
		}
	case f.behind:
		a.routes.add(keyOf(f.route))
	}
	return nil
}

// version is a generation of an object, and when it was seen first.
type version struct {
	generation int64
	seen       time.Time
}

// mayWait returns for how long the status of a Service may wait, twice as long as that of its Route. While a change is being carried out there is nothing to tell
// that a moment later is not wrong: until then the status is that of the generation before, and says so.
func (a *Adapter) mayWait(service *servingv1.Service, plan rollout.ServicePlan, now time.Time) time.Duration {
	ready := model.FindCondition(plan.Conditions, model.Ready)
	if service.Status.ObservedGeneration == 0 || service.Status.ObservedGeneration == service.Generation || ready.Status != model.Unknown {
		return 0
	}
	v, known := a.fresh.get(keyOf(service))
	if !known || v.generation != service.Generation {
		v = version{service.Generation, now}
		a.fresh.put(keyOf(service), v)
	}
	return 2*a.options.Patience - now.Sub(v.seen)
}

func (a *Adapter) writeServiceStatus(ctx context.Context, f *family, plan rollout.ServicePlan) error {
	after := f.service.DeepCopy()
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, time.Now())
	if f.configuration != nil && metav1.IsControlledBy(f.configuration, f.service) {
		s.ConfigurationStatusFields = f.configuration.Status.ConfigurationStatusFields
	}
	if f.route != nil && metav1.IsControlledBy(f.route, f.service) {
		s.RouteStatusFields = *f.route.Status.RouteStatusFields.DeepCopy()
	}
	if err := writeStatus(ctx, a, after, f.service.Status, after.Status); err != nil {
		return err
	}
	a.wrote.put(refOf(kindService, after), after.ResourceVersion)
	a.announce(f.service, after)
	return nil
}

// announce tells that a Service has become ready, or is so in our first look at it. The gateway must have it by then:
// after a restart a status says what was before.
func (a *Adapter) announce(before, after *servingv1.Service) {
	key := keyOf(after)
	uid, _ := a.announced.get(key)
	_, programmed := a.assembler.current(key)
	news := uid != string(after.UID) || !isReady(before.Status.Status)
	if a.options.Ready != nil && isReady(after.Status.Status) && programmed && news {
		a.announced.put(key, string(after.UID))
		a.options.Ready(key, after.Status.URL)
	}
}

func isReady(s servingv1.Status) bool {
	c := s.Condition(servingv1.ConditionReady)
	return c != nil && c.Status == "True"
}
