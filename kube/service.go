package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// afterConflict is the delay of a retry after a conflict, until the cache has the write that it lacked.
const afterConflict = 5 * time.Millisecond

// afterOutage is the delay of a retry while the API server has no store.
const afterOutage = 2 * time.Second

func (a *Adapter) setUpServices() error {
	return ctrl.NewControllerManagedBy(a.manager).Named("service").
		For(&servingv1.Service{}, builder.WithPredicates(a.bySomebodyElse(kindService))).
		// By name, not by owner: when an object of that name that another owns is deleted, the Service can create its own.
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
	behind        bool // the Route is not what the Service asks for
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
			in.Route.Generation++ // which its status does not have yet
		}
	}
	return in
}

// take sets the Route of the family.
func (f *family) take(route *servingv1.Route) {
	f.route = route
	f.behind = route != nil && metav1.IsControlledBy(route, f.service) && follow(route, convert.RouteOf(f.service)) != route
}

// routeMayFollow says that the Route may become what the Service asks for: the Configuration already is, and the revision that would get
// the traffic is known.
func (f *family) routeMayFollow() bool {
	want := convert.ConfigurationOf(f.service)
	return f.configuration != nil && equality.Semantic.DeepEqual(f.configuration.Spec, want.Spec) && sameLabels(f.configuration, want) &&
		!rollout.Service(f.input()).KeepRoute
}

// familyOf reads the objects of a Service.
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
		a.announced.Drop(key)
		a.fresh.Drop(key)
		a.refused.Drop(key)
	}
	if err != nil || service == nil || service.DeletionTimestamp != nil {
		return ctrl.Result{}, err
	}
	f, err := a.familyOf(ctx, service)
	if err != nil {
		return ctrl.Result{}, err
	}
	err = a.ensureOwned(ctx, f)
	if apierrors.IsInvalid(err) {
		plan := rollout.Service(f.input()).Refused(refusedBy(err), err.Error())
		return ctrl.Result{RequeueAfter: afterRefusal}, a.writeServiceStatus(ctx, f, plan)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := rollout.Service(f.input())
	if r, ok := a.refused.Get(keyOf(service)); ok && f.behind && r.generation == service.Generation {
		return ctrl.Result{}, a.writeServiceStatus(ctx, f, plan.Refused(model.RoutesReady, r.why))
	}
	if wait := a.mayWait(service, plan, time.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{}, a.writeServiceStatus(ctx, f, plan)
}

// ensureOwned creates or updates the Configuration, and creates the Route when the revision that it would lead to is known. It enqueues a
// Route that exists: the Route's controller updates it.
func (a *Adapter) ensureOwned(ctx context.Context, f *family) (err error) {
	if !rollout.Service(f.input()).KeepConfiguration {
		f.configuration, err = ensure(ctx, a, f.configuration, convert.ConfigurationOf(f.service),
			func(have, want *servingv1.Configuration) bool {
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

// refusedBy returns the condition of a Service for an object that the API server refuses.
func refusedBy(err error) string {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) && answer.Status().Details != nil && answer.Status().Details.Kind == "Configuration" {
		return model.ConfigurationsReady
	}
	return model.RoutesReady
}

// refusal says that the API server refuses the Route of a Service's generation.
type refusal struct {
	generation int64 // of the Service
	why        string
}

// tellRefusal has the status of a Route's Service say that the API server refuses the Route. That happens only where somebody has edited
// the definition of Services: the same rules hold for both.
func (a *Adapter) tellRefusal(ctx context.Context, route *servingv1.Route, why error) {
	service, err := find[servingv1.Service](ctx, a.client, route.Namespace, route.Name)
	if err != nil || service == nil || !metav1.IsControlledBy(route, service) {
		return // it is tried again
	}
	key := keyOf(service)
	next := refusal{service.Generation, why.Error()}
	if last, ok := a.refused.Get(key); !ok || last != next {
		a.refused.Put(key, next)
		a.services.add(key)
	}
}

// version is a generation of an object, and when it was first seen.
type version struct {
	generation int64
	seen       time.Time
}

// mayWait returns for how long the status of a Service may wait, twice as long as that of its Route. A status that is written while a
// change is carried out would be outdated a moment later. Until then the status is that of the generation before, which it names.
func (a *Adapter) mayWait(service *servingv1.Service, plan rollout.ServicePlan, now time.Time) time.Duration {
	ready := model.FindCondition(plan.Conditions, model.Ready)
	if service.Status.ObservedGeneration == 0 || service.Status.ObservedGeneration == service.Generation || ready.Status != model.Unknown {
		return 0
	}
	v, known := a.fresh.Get(keyOf(service))
	if !known || v.generation != service.Generation {
		v = version{service.Generation, now}
		a.fresh.Put(keyOf(service), v)
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
	a.wrote.Put(refOf(kindService, after), after.ResourceVersion)
	a.events.Conditions(after, &f.service.Status.Status, &after.Status.Status, "Ready at "+after.Status.URL)
	a.announce(f.service, after)
	return nil
}

// announce calls Ready when a Service has become ready, or is ready when it is first reconciled. The gateways must have its Route by then:
// after a restart the status is that of the process before.
func (a *Adapter) announce(before, after *servingv1.Service) {
	key := keyOf(after)
	uid, _ := a.announced.Get(key)
	_, programmed := a.assembler.Current(key)
	becameReady := uid != string(after.UID) || !isReady(before.Status.Status)
	if a.options.Ready != nil && isReady(after.Status.Status) && programmed && becameReady {
		a.announced.Put(key, string(after.UID))
		a.options.Ready(key, after.Status.URL)
	}
}

func isReady(s servingv1.Status) bool {
	c := s.Condition(servingv1.ConditionReady)
	return c != nil && c.Status == "True"
}
