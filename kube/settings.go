package kube

import (
	"context"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	for _, k := range []struct {
		kind string
		list client.ObjectList
		to   *trigger
	}{
		{kindRoute, &servingv1.RouteList{}, &a.routes},
		{kindMapping, &servingv1beta1.DomainMappingList{}, &a.mappings},
		{kindRevision, &servingv1.RevisionList{}, &a.revisions},
		{kindConfiguration, &servingv1.ConfigurationList{}, &a.configurations},
	} {
		if !kinds[k.kind] {
			continue
		}
		if err := a.client.List(ctx, k.list); err != nil {
			return err
		}
		if err := meta.EachListItem(k.list, func(o runtime.Object) error {
			k.to.add(keyOf(o.(client.Object)))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
