package kube

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// afterConflict is how long to wait for the cache to catch up with a write that it has not seen.
const afterConflict = 5 * time.Millisecond

func (a *Adapter) setUpServices() error {
	return ctrl.NewControllerManagedBy(a.manager).Named("service").
		For(&servingv1.Service{}).
		// By name, not by owner: when somebody else's object of that name goes, it is the Service's turn.
		Watches(&servingv1.Configuration{}, to(itself)).
		Watches(&servingv1.Route{}, to(itself)).
		WatchesRawSource(a.services.source()).
		Complete(a.onceComplete(a.reconcileService))
}

// family is a Service with the two objects that it owns, as objects and as values.
type family struct {
	service       *servingv1.Service
	configuration *servingv1.Configuration
	route         *servingv1.Route
	revisions     []*model.Revision
}

func (f *family) input() rollout.ServiceInput {
	in := rollout.ServiceInput{Service: convert.Service(f.service), Revisions: f.revisions}
	if f.configuration != nil {
		in.Configuration = convert.Configuration(f.configuration)
	}
	if f.route != nil {
		in.Route = convert.Route(f.route)
	}
	return in
}

func (a *Adapter) reconcileService(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	service, err := find[servingv1.Service](ctx, a.client, r.Namespace, r.Name)
	if service == nil {
		a.announced.drop(model.Key{Namespace: r.Namespace, Name: r.Name})
	}
	if err != nil || service == nil || service.DeletionTimestamp != nil {
		return ctrl.Result{}, err
	}
	f := &family{service: service}
	if f.configuration, err = find[servingv1.Configuration](ctx, a.client, r.Namespace, r.Name); err != nil {
		return ctrl.Result{}, err
	}
	if f.route, err = find[servingv1.Route](ctx, a.client, r.Namespace, r.Name); err != nil {
		return ctrl.Result{}, err
	}
	if f.revisions, err = a.revisionsOf(ctx, r.Namespace, r.Name, service.Spec.Template.Metadata.Name); err != nil {
		return ctrl.Result{}, err
	}
	if err := a.ensureOwned(ctx, f); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, a.writeServiceStatus(ctx, f)
}

// ensureOwned makes Configuration and Route be what the Service says; the Route only once it is known which revision it
// would lead to.
func (a *Adapter) ensureOwned(ctx context.Context, f *family) (err error) {
	if !rollout.Service(f.input()).KeepConfiguration {
		f.configuration, err = ensure(ctx, a, f.configuration, convert.ConfigurationOf(f.service), func(have, want *servingv1.Configuration) bool {
			return equality.Semantic.DeepEqual(have.Spec, want.Spec)
		})
		if err != nil {
			return err
		}
	}
	if !rollout.Service(f.input()).KeepRoute {
		f.route, err = ensure(ctx, a, f.route, convert.RouteOf(f.service), func(have, want *servingv1.Route) bool {
			return equality.Semantic.DeepEqual(have.Spec, want.Spec)
		})
	}
	return err
}

func (a *Adapter) writeServiceStatus(ctx context.Context, f *family) error {
	plan := rollout.Service(f.input())
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
