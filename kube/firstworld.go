package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube/world"
	"sluice.dev/sluice/model"
)

// afterFirstWorld is after how long an object is reconciled again whose status must wait until the first World is complete.
const afterFirstWorld = time.Second

// settling makes a reconciler settle its objects at the barrier: when one is known, and when its reconciliation has failed.
func (a *Adapter) settling(kind string, do func(context.Context, ctrl.Request) (ctrl.Result, error)) reconcile.Func {
	return func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		o := model.Ref{Kind: kind, Key: model.Key{Namespace: r.Namespace, Name: r.Name}}
		failure := errors.New("the reconciler panicked")
		defer func() {
			if failure != nil && ctx.Err() == nil && a.barrier.Settle(o) {
				a.log.Warn("cannot reconcile an object: it is not served until that succeeds", "object", o, "error", failure)
			}
		}()
		result, err := do(ctx, r)
		if err == nil && (kind != kindRevision || !a.fleet.Undecided(o.Key)) {
			a.barrier.Settle(o)
		}
		result, err = outcome(result, err) // a lost race is retried, and is no failure
		failure = err
		return result, err
	}
}

// awaitFirstWorld tells the barrier what the first World must contain, enqueues each of these objects, and reports what is awaited
// until there is a World. It enqueues them because no watch reports an object that was deleted before its controller watches.
func (a *Adapter) awaitFirstWorld(ctx context.Context) error {
	existing, err := a.existing(ctx)
	if err != nil {
		return err
	}
	expected := existing
	if a.options.AwaitActivator && len(existing) > 0 {
		expected = append(slices.Clip(existing), world.SomeActivator)
	}
	if a.options.DefaultCertificate != (model.Key{}) {
		expected = append(slices.Clip(expected), gatewayCertificate)
	}
	a.barrier.Expect(expected)
	for _, o := range existing {
		switch o.Kind {
		case kindRoute:
			a.routes.add(o.Key)
		case kindMapping:
			a.mappings.add(o.Key)
		default:
			a.revisions.add(o.Key)
		}
	}
	world.FirstWorld{
		Barrier: a.barrier, Of: len(expected), Say: a.sayWaiting, Log: a.log.Info, Warn: a.log.Warn,
	}.Await(ctx)
	return nil
}

func (a *Adapter) sayWaiting(what string) {
	if a.options.Waiting != nil {
		a.options.Waiting(what)
	}
}

// onceComplete makes a reconciler wait for the first World. It is for kinds that the first World does not need.
func (a *Adapter) onceComplete(do func(context.Context, ctrl.Request) (ctrl.Result, error)) reconcile.Func {
	return func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		select {
		case <-a.barrier.Completed():
			return outcome(do(ctx, r))
		case <-ctx.Done():
			return ctrl.Result{}, nil
		}
	}
}

// existing lists all Routes, Revisions and DomainMappings.
func (a *Adapter) existing(ctx context.Context) ([]model.Ref, error) {
	var routes servingv1.RouteList
	var revisions servingv1.RevisionList
	if err := a.client.List(ctx, &routes); err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	if err := a.client.List(ctx, &revisions); err != nil {
		return nil, fmt.Errorf("listing revisions: %w", err)
	}
	var mappings servingv1beta1.DomainMappingList
	if err := a.client.List(ctx, &mappings); err != nil {
		return nil, fmt.Errorf("listing domain mappings: %w", err)
	}
	var existing []model.Ref
	for i := range mappings.Items {
		existing = append(existing, refOf(kindMapping, &mappings.Items[i]))
	}
	for i := range routes.Items {
		existing = append(existing, refOf(kindRoute, &routes.Items[i]))
	}
	for i := range revisions.Items {
		existing = append(existing, refOf(kindRevision, &revisions.Items[i]))
	}
	return existing, nil
}
