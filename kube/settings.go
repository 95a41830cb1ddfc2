package kube

import (
	"context"
	"reflect"
	"sync"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
)

// complete returns the Settings with Defaults.
func (s Settings) complete() *Settings {
	if s.Defaults == nil {
		s.Defaults = new(servingv1.KnativeDefaults())
	}
	return &s
}

// Configure replaces the settings. All objects that depend on what changed are reconciled again; what comes out as before keeps its pointer
// in the next World, and is not written. Existing revisions keep the defaults that they were made with.
func (a *Adapter) Configure(s Settings) {
	next := s.complete()
	before := a.settings.Swap(next)
	was, is := before.Rollout, next.Rollout
	retention := !reflect.DeepEqual(was.Retention, is.Retention)
	deadline := was.ProgressDeadline != is.ProgressDeadline
	was.Retention, is.Retention, was.ProgressDeadline, is.ProgressDeadline = nil, nil, 0, 0
	a.outdated.add(map[string]bool{
		kindRoute:         !reflect.DeepEqual(was, is),
		kindMapping:       !reflect.DeepEqual(was, is),
		kindRevision:      deadline,
		kindConfiguration: retention || !reflect.DeepEqual(before.Defaults, next.Defaults),
	})
}

// outdated are the kinds whose objects must all be reconciled again.
type outdated struct {
	signal chan struct{}

	// Guarded by mu.
	mu    sync.Mutex
	kinds map[string]bool
}

func newOutdated() *outdated {
	return &outdated{signal: make(chan struct{}, 1), kinds: map[string]bool{}}
}

func (o *outdated) add(kinds map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for kind, yes := range kinds {
		if yes {
			o.kinds[kind] = true
		}
	}
	if len(o.kinds) == 0 {
		return
	}
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

func (o *outdated) take() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	kinds := o.kinds
	o.kinds = map[string]bool{}
	return kinds
}

// followSettings enqueues the objects that a change of settings concerns.
func (a *Adapter) followSettings(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.outdated.signal:
		}
		kinds := a.outdated.take()
		if err := a.enqueueAll(ctx, kinds); err != nil && ctx.Err() == nil {
			return err // the cache is in this process: it fails only when the adapter ends, or by a mistake of ours
		}
	}
}

func (a *Adapter) enqueueAll(ctx context.Context, kinds map[string]bool) error {
	if kinds[kindRoute] {
		var all servingv1.RouteList
		if err := a.client.List(ctx, &all); err != nil {
			return err
		}
		for i := range all.Items {
			a.routes.add(keyOf(&all.Items[i]))
		}
	}
	if kinds[kindMapping] {
		var all servingv1beta1.DomainMappingList
		if err := a.client.List(ctx, &all); err != nil {
			return err
		}
		for i := range all.Items {
			a.mappings.add(keyOf(&all.Items[i]))
		}
	}
	if kinds[kindRevision] {
		var all servingv1.RevisionList
		if err := a.client.List(ctx, &all); err != nil {
			return err
		}
		for i := range all.Items {
			a.revisions.add(keyOf(&all.Items[i]))
		}
	}
	if kinds[kindConfiguration] {
		var all servingv1.ConfigurationList
		if err := a.client.List(ctx, &all); err != nil {
			return err
		}
		for i := range all.Items {
			a.configurations.add(keyOf(&all.Items[i]))
		}
	}
	return nil
}
