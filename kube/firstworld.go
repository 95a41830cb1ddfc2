package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/model"
)

// The first World is complete when every Route and Revision that existed at the start has been reconciled once. Gateways may still
// have the resources of the process before this one, and they would remove whatever the first World lacks. So the barrier waits for
// objects, not for a time. A Route is known when its rules are known. A Revision is known when its autoscaler has said how requests
// reach it: its replicas may still be starting, since activators hold the requests. An object whose reconciliation fails is left out.

const (
	// stalledAfter bounds the time in which nothing more becomes known. After it the first World goes without the rest. No known case
	// needs it: it keeps a mistake of ours about one object from taking everything down.
	stalledAfter = time.Minute
	// activatorPatience bounds the wait for an activator when everything else is known. Where all activators are other processes,
	// there may be none. An activator that has lost its connection tries again every 5 s.
	activatorPatience = 10 * time.Second
	// firstWorldCheck is how often the progress is checked. The barrier itself completes at once.
	firstWorldCheck = 500 * time.Millisecond
	// logWaitingEvery is the time between two log lines that say what the first World waits for.
	logWaitingEvery = 10 * time.Second
	// afterFirstWorld is after how long an object is reconciled again whose status must wait until the first World is complete.
	afterFirstWorld = time.Second
	// maxNamed is how many objects a sentence names.
	maxNamed = 5
)

// someActivator stands for the activators among the expected objects: it is settled when there is one.
var someActivator = model.Ref{Kind: "Activator"}

// settling makes a reconciler settle its objects at the barrier: when one is known, and when its reconciliation has failed.
func (a *Adapter) settling(kind string, do func(context.Context, ctrl.Request) (ctrl.Result, error)) reconcile.Func {
	return func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		o := model.Ref{Kind: kind, Key: model.Key{Namespace: r.Namespace, Name: r.Name}}
		failure := errors.New("the reconciler panicked")
		defer func() {
			if failure != nil && ctx.Err() == nil && a.barrier.settle(o) {
				a.log.Warn("cannot reconcile an object: it is not served until that succeeds", "object", o, "error", failure)
			}
		}()
		result, err := do(ctx, r)
		if err == nil && (kind != kindRevision || !a.fleet.undecided(o.Key)) {
			a.barrier.settle(o)
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
		expected = append(slices.Clip(existing), someActivator)
	}
	if a.options.DefaultCertificate != (model.Key{}) {
		expected = append(slices.Clip(expected), gatewayCertificate)
	}
	a.barrier.expect(expected)
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
	w := firstWorld{barrier: a.barrier, of: len(expected), say: a.sayWaiting, log: a.log.Info, warn: a.log.Warn}
	w.await(ctx)
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
		case <-a.barrier.completed:
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

// firstWorld waits for the barrier to complete.
type firstWorld struct {
	barrier   *barrier
	of        int // how many objects are expected
	say       func(what string)
	log, warn func(message string, args ...any)
}

// await returns when there is a World, or when the context ends.
func (f firstWorld) await(ctx context.Context) {
	ticker := time.NewTicker(firstWorldCheck)
	defer ticker.Stop()
	defer f.say("")
	began := time.Now()
	logged, moved, left := began, began, -1
	for {
		missing := f.barrier.missing()
		if len(missing) == 0 {
			return
		}
		now := time.Now()
		if len(missing) != left {
			moved, left = now, len(missing)
			f.say(waitingFor(missing, f.of))
		}
		noActivator := len(missing) == 1 && missing[0] == someActivator
		switch {
		case noActivator && now.Sub(moved) >= activatorPatience:
			f.warn("no activator has connected: revisions without replicas are not served until one does", "waited", activatorPatience)
			f.barrier.settleAll()
		case now.Sub(moved) >= stalledAfter:
			f.warn("serving without objects that did not become known in time",
				"waited", stalledAfter, "objects", waitingFor(missing, f.of))
			f.barrier.settleAll()
		case now.Sub(logged) >= logWaitingEvery:
			logged = now
			f.log("nothing is served yet", "reason", waitingFor(missing, f.of))
		}
		select {
		case <-f.barrier.completed:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// waitingFor says what is missing, such as: 2 of 40 objects: Revision default/a-00001, Route default/a.
func waitingFor(missing []model.Ref, of int) string {
	if len(missing) == 0 {
		return ""
	}
	var names []string
	for _, o := range missing[:min(len(missing), maxNamed)] {
		if o == someActivator {
			names = append(names, "an activator that connects")
			continue
		}
		names = append(names, o.Kind+" "+o.Key.String())
	}
	if more := len(missing) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("%d of %d objects: %s", len(missing), of, strings.Join(names, ", "))
}
