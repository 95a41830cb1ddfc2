package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/schedule"
	"sluice.dev/sluice/model"
)

const (
	kindSchedule = autoscalingv1alpha1.KindScalingSchedule
	// indexScheduled has ScalingSchedules by the Services that they name, and by anyService if they select some.
	indexScheduled = "scheduled"
	anyService     = "*"
	// longestNap is how long the status of a ScalingSchedule may go without a look at the clock, which may be set.
	longestNap = 10 * time.Minute
)

func (a *Adapter) setUpSchedules() error {
	err := a.manager.GetFieldIndexer().IndexField(context.Background(), &autoscalingv1alpha1.ScalingSchedule{}, indexScheduled,
		func(o client.Object) []string {
			spec := o.(*autoscalingv1alpha1.ScalingSchedule).Spec
			names := slices.Clone(spec.Services)
			if spec.Selector != nil {
				names = append(names, anyService)
			}
			return names
		})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(a.manager).Named("scalingschedule").
		For(&autoscalingv1alpha1.ScalingSchedule{}, builder.WithPredicates(a.bySomebodyElse(kindSchedule))).
		Watches(&servingv1.Service{}, to(a.schedulesAbout), builder.WithPredicates(whenChanged(labelsOf))).
		WithOptions(retrying()).
		Complete(a.onceComplete(a.reconcileSchedule))
}

// labelsOf is a fingerprint of the labels of an object.
func labelsOf(o client.Object) string { return fmt.Sprint(o.GetUID(), o.GetLabels()) }

// schedulesNaming lists the ScalingSchedules that name a Service or may select it.
func (a *Adapter) schedulesNaming(ctx context.Context, namespace, service string) ([]*autoscalingv1alpha1.ScalingSchedule, error) {
	var all []*autoscalingv1alpha1.ScalingSchedule
	for _, name := range []string{service, anyService} {
		var list autoscalingv1alpha1.ScalingScheduleList
		if err := a.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexScheduled: name}); err != nil {
			return nil, fmt.Errorf("listing schedules: %w", err)
		}
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	slices.SortFunc(all, func(a, b *autoscalingv1alpha1.ScalingSchedule) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(all, func(a, b *autoscalingv1alpha1.ScalingSchedule) bool { return a.Name == b.Name }), nil
}

func (a *Adapter) schedulesAbout(ctx context.Context, service client.Object) []string {
	schedules, err := a.schedulesNaming(ctx, service.GetNamespace(), service.GetName())
	if err != nil {
		a.log.Error("cannot find the schedules of a service", "service", keyOf(service), "error", err)
	}
	names := make([]string, len(schedules))
	for i, s := range schedules {
		names[i] = s.Name
	}
	return names
}

// schedulesOf returns the schedules that a revision follows: while a Route names it, the one of its annotation and those about its Service.
func (a *Adapter) schedulesOf(ctx context.Context, revision *servingv1.Revision) ([]*model.Schedule, error) {
	if model.RoutingState(revision.Labels[servingv1.RoutingStateLabel]) != model.RoutingActive {
		return nil, nil
	}
	var out []*model.Schedule
	if s := a.schedules.Annotated(revision.Annotations); s != nil {
		out = append(out, s)
	}
	name := revision.Labels[servingv1.ServiceLabel]
	if name == "" {
		return out, nil
	}
	all, err := a.schedulesNaming(ctx, revision.Namespace, name)
	if err != nil || len(all) == 0 {
		return out, err
	}
	service, err := find[servingv1.Service](ctx, a.client, revision.Namespace, name)
	if err != nil || service == nil {
		return out, err
	}
	for _, s := range all {
		if !convert.Selects(s, service) {
			continue
		}
		if value, err := a.schedules.Value(s); err == nil { // its condition has the error
			out = append(out, value)
		}
	}
	return out, nil
}

// revisionsOnSchedule lists the revisions of the Services that a ScalingSchedule concerns.
func (a *Adapter) revisionsOnSchedule(ctx context.Context, o client.Object) []string {
	services, _, err := a.servicesOf(ctx, o.(*autoscalingv1alpha1.ScalingSchedule))
	if err != nil {
		a.log.Error("cannot find the services of a schedule", "schedule", keyOf(o), "error", err)
	}
	var names []string
	for _, s := range services {
		names = append(names, a.revisionsMadeBy(ctx, s)...) // its Configuration has the same name
	}
	return names
}

// servicesOf lists the Services that a ScalingSchedule concerns, and the names of those that do not exist.
func (a *Adapter) servicesOf(ctx context.Context, s *autoscalingv1alpha1.ScalingSchedule) (have []*servingv1.Service, missing []string,
	err error) {
	for _, name := range s.Spec.Services {
		service, err := find[servingv1.Service](ctx, a.client, s.Namespace, name)
		switch {
		case err != nil:
			return nil, nil, err
		case service == nil:
			missing = append(missing, name)
		default:
			have = append(have, service)
		}
	}
	if s.Spec.Selector == nil {
		return have, missing, nil
	}
	var list servingv1.ServiceList
	if err := a.client.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, nil, fmt.Errorf("listing services: %w", err)
	}
	for i := range list.Items {
		if o := &list.Items[i]; !slices.Contains(s.Spec.Services, o.Name) && convert.Selects(s, o) {
			have = append(have, o)
		}
	}
	return have, missing, nil
}

func (a *Adapter) reconcileSchedule(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	stored, err := find[autoscalingv1alpha1.ScalingSchedule](ctx, a.client, r.Namespace, r.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if stored == nil || stored.DeletionTimestamp != nil {
		a.schedules.Forget(model.Key{Namespace: r.Namespace, Name: r.Name})
		return ctrl.Result{}, nil
	}
	services, missing, err := a.servicesOf(ctx, stored)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := time.Now()
	state, ready := a.schedules.Judge(stored, missing, now)
	after := stored.DeepCopy()
	status := &after.Status
	status.ObservedGeneration = after.Generation
	status.Conditions = convert.Conditions(status.Conditions, []model.Condition{ready}, now)
	status.Services = new(int32(len(services)))
	convert.ScheduleStatus(status, state)
	if err := writeStatus(ctx, a, after, stored.Status, after.Status); err != nil {
		return ctrl.Result{}, err
	}
	a.wrote.Put(refOf(kindSchedule, after), after.ResourceVersion)
	a.events.Conditions(after, &stored.Status.Status, &status.Status, "The schedule is followed")
	if text := schedule.Change(&stored.Status, status); text != "" {
		a.events.Tell(after, corev1.EventTypeNormal, schedule.ReasonBoundsChanged, text)
	}
	if state.Until.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: min(max(time.Until(state.Until), time.Millisecond), longestNap)}, nil
}
