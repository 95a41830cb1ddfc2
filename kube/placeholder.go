package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Placeholders are Kubernetes Services by which clients in the cluster find the hosts of a Route by DNS: one for the Route, and one for each
// tag. They lead to the gateways' Service for hosts within the cluster; docs/decisions/0032-hosts.md says why they are of the type
// ExternalName. A user may label one as cluster-local, and so keep one tag from being visible outside.

// afterForeign is after how long a Route is reconciled again that could not have a placeholder: somebody else's Service has the name.
const afterForeign = 30 * time.Second

// placeholders selects them. The cache has no other Services.
func placeholders() labels.Selector {
	isPlaceholder, err := labels.NewRequirement(servingv1.RouteLabel, selection.Exists, nil)
	if err != nil { // cannot be: the label is a constant
		panic(err)
	}
	return labels.NewSelector().Add(*isPlaceholder)
}

// worthALook drops the placeholders that the controller has just created.
var worthALook = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return e.Object.GetLabels()[servingv1.VisibilityLabel] != "" }}

// routeOf returns the name of a placeholder's Route.
func routeOf(_ context.Context, o client.Object) []string {
	return []string{o.GetLabels()[servingv1.RouteLabel]}
}

// placeholdersOf reads the placeholders of a Route from the cache, by name.
func (a *Adapter) placeholdersOf(ctx context.Context, route model.Key) (map[string]*corev1.Service, error) {
	var list corev1.ServiceList
	err := a.client.List(ctx, &list, client.InNamespace(route.Namespace), client.MatchingLabels{servingv1.RouteLabel: route.Name})
	if err != nil {
		return nil, fmt.Errorf("listing the placeholder Services of %s: %w", route, err)
	}
	have := make(map[string]*corev1.Service, len(list.Items))
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	return have, nil
}

// localTags returns the tags whose placeholders are labelled as cluster-local; the empty one is the Route itself.
func (a *Adapter) localTags(ctx context.Context, in rollout.RouteInput) ([]string, error) {
	if a.options.LocalGateway == "" {
		return nil, nil
	}
	have, err := a.placeholdersOf(ctx, in.Route.Key)
	if err != nil {
		return nil, err
	}
	var local []string
	for _, p := range in.Options.Placeholders(in.Route, in.Route.Traffic, in.Route.Served) {
		if s := have[p.Name]; s != nil && s.Labels[servingv1.VisibilityLabel] == servingv1.VisibilityClusterLocal {
			local = append(local, p.Tag)
		}
	}
	return local, nil
}

// ensurePlaceholders makes the placeholders of a Route as they should be, and deletes those that it does not need. What it cannot make is a
// problem of the Route, and hinders nothing else.
func (a *Adapter) ensurePlaceholders(ctx context.Context, route *servingv1.Route, plan rollout.RoutePlan) ([]model.Problem, error) {
	if a.options.LocalGateway == "" {
		return nil, nil
	}
	have, err := a.placeholdersOf(ctx, keyOf(route))
	if err != nil {
		return nil, err
	}
	var problems []model.Problem
	for _, p := range plan.Placeholders {
		problem, err := a.ensurePlaceholder(ctx, route, have[p.Name], convert.PlaceholderOf(route, p.Name, a.options.LocalGateway))
		if err != nil {
			return nil, err
		}
		if problem != nil {
			problems = append(problems, *problem)
		}
		delete(have, p.Name)
	}
	for _, s := range have {
		if metav1.IsControlledBy(s, route) {
			if err := a.remove(ctx, s); err != nil {
				return nil, err
			}
		}
	}
	return problems, nil
}

func (a *Adapter) ensurePlaceholder(ctx context.Context, route *servingv1.Route, have, want *corev1.Service) (*model.Problem, error) {
	problem := func(reason, format string, args ...any) *model.Problem {
		return &model.Problem{Owner: refOf(kindRoute, route), Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	foreign := problem("NotOwned", "There is an existing placeholder Service %q that we do not own.", want.Name)
	var err error
	switch {
	case have == nil:
		err = a.client.Create(ctx, want)
		if apierrors.IsAlreadyExists(err) {
			// It has no label, or the cache does not have it yet.
			found, err := find[corev1.Service](ctx, a.direct, want.Namespace, want.Name)
			if err != nil || found == nil || metav1.IsControlledBy(found, route) {
				return nil, err
			}
			return foreign, nil
		}
	case !metav1.IsControlledBy(have, route):
		return foreign, nil
	case convert.LeadsTo(have, want):
		return nil, nil
	default:
		next := have.DeepCopy()
		next.Spec, next.Labels = want.Spec, convert.WithLabels(have.Labels, want.Labels)
		err = a.client.Update(ctx, next)
	}
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return problem("PlaceholderFailed", "Failed to create the placeholder Service %q: %v", want.Name, err), nil
	}
	return nil, err
}
