package kube

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// The kinds of the API, as references have them.
const (
	kindService       = "Service"
	kindConfiguration = "Configuration"
	kindRevision      = "Revision"
	kindRoute         = "Route"
	kindMapping       = "DomainMapping"
	kindGateway       = "Gateway"
)

// Indexes of the cache: by the object that a field or label names.
const (
	indexConfiguration = "configuration" // Revisions by the Configuration that made them; Routes by those that they name
	indexRevision      = "revision"      // Routes by the Revisions that they name
	indexWanted        = "wanted"        // Configurations by the name of their newest Revision
	indexTarget        = "target"        // DomainMappings by the name of the Service or Route that they name
	indexDomain        = "domain"        // DomainMappings by their own name
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// trigger enqueues objects for a controller, besides its watches. It keeps those that are added before the controller has started.
type trigger struct {
	// Guarded by mu.
	mu      sync.Mutex
	queue   queue
	waiting []model.Key
}

func (t *trigger) source() source.Source {
	return source.Func(func(_ context.Context, q queue) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.queue = q
		for _, k := range t.waiting {
			q.Add(request(k.Namespace, k.Name))
		}
		t.waiting = nil
		return nil
	})
}

func (t *trigger) add(k model.Key) { t.addAfter(k, 0) }

// addAfter enqueues an object after a delay. Within it further additions of the object have no effect.
func (t *trigger) addAfter(k model.Key, delay time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue == nil {
		t.waiting = append(t.waiting, k)
		return
	}
	t.queue.AddAfter(request(k.Namespace, k.Name), delay)
}

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

func keyOf(o client.Object) model.Key {
	return model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func refOf(kind string, o client.Object) model.Ref { return model.Ref{Kind: kind, Key: keyOf(o)} }

// index adds the indexes to the cache.
func (a *Adapter) index() error {
	ctx, fields := context.Background(), a.manager.GetFieldIndexer()
	if err := fields.IndexField(ctx, &servingv1.Revision{}, indexConfiguration, func(o client.Object) []string {
		return []string{o.GetLabels()[servingv1.ConfigurationLabel]}
	}); err != nil {
		return err
	}
	if err := fields.IndexField(ctx, &servingv1.Configuration{}, indexWanted, func(o client.Object) []string {
		return []string{wantedName(o.(*servingv1.Configuration))}
	}); err != nil {
		return err
	}
	if err := fields.IndexField(ctx, &servingv1.Route{}, indexConfiguration, func(o client.Object) []string {
		configurations, _ := named(o.(*servingv1.Route))
		return configurations
	}); err != nil {
		return err
	}
	return fields.IndexField(ctx, &servingv1.Route{}, indexRevision, func(o client.Object) []string {
		_, revisions := named(o.(*servingv1.Route))
		return revisions
	})
}

// named lists the Configurations and Revisions that a Route names in its spec or status, each once.
func named(r *servingv1.Route) (configurations, revisions []string) {
	seenConfiguration, seenRevision := map[string]bool{"": true}, map[string]bool{"": true}
	for _, targets := range [][]servingv1.TrafficTarget{r.Spec.Traffic, r.Status.Traffic} {
		for _, t := range targets {
			if !seenConfiguration[t.ConfigurationName] {
				seenConfiguration[t.ConfigurationName] = true
				configurations = append(configurations, t.ConfigurationName)
			}
			if !seenRevision[t.RevisionName] {
				seenRevision[t.RevisionName] = true
				revisions = append(revisions, t.RevisionName)
			}
		}
	}
	return configurations, revisions
}

// to makes a handler that enqueues the names that pick returns for the object before and after a change, in its namespace.
func to(pick func(context.Context, client.Object) []string) handler.EventHandler {
	return within(0, pick)
}

// within is like to, with a delay in which further changes have no effect.
func within(delay time.Duration, pick func(context.Context, client.Object) []string) handler.EventHandler {
	add := func(ctx context.Context, o client.Object, q queue) {
		for _, name := range pick(ctx, o) {
			q.AddAfter(request(o.GetNamespace(), name), delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { add(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			add(ctx, e.ObjectOld, q)
			add(ctx, e.ObjectNew, q)
		},
	}
}

// itself returns the name of an object, for objects of another kind with that name.
func itself(_ context.Context, o client.Object) []string { return []string{o.GetName()} }

// routesFollowing lists the Routes that name a Configuration.
func (a *Adapter) routesFollowing(ctx context.Context, configuration client.Object) []string {
	return a.routesConcerned(ctx, configuration, map[string]string{indexConfiguration: configuration.GetName()})
}

// routesServedBy lists the Routes that depend on a revision: those that name it, and those that follow its Configuration. When a revision
// recovers, the status of the latter may not name it, and the Configuration does not change.
func (a *Adapter) routesServedBy(ctx context.Context, revision client.Object) []string {
	return a.routesConcerned(ctx, revision, namesOf(revision))
}

// namesOf returns the names by which Routes may name a revision, by index.
func namesOf(revision client.Object) map[string]string {
	return map[string]string{
		indexRevision: revision.GetName(), indexConfiguration: revision.GetLabels()[servingv1.ConfigurationLabel],
	}
}

func (a *Adapter) routesConcerned(ctx context.Context, o client.Object, by map[string]string) []string {
	routes, err := a.routesNaming(ctx, o.GetNamespace(), by)
	if err != nil {
		a.log.Error("cannot list routes", "by", by, "error", err)
	}
	names := make([]string, len(routes))
	for i, r := range routes {
		names[i] = r.Name
	}
	return names
}

// routesNaming lists the Routes that at least one of the indexes has under the given name, each once.
func (a *Adapter) routesNaming(ctx context.Context, namespace string, by map[string]string) ([]*servingv1.Route, error) {
	seen := map[string]bool{}
	var routes []*servingv1.Route
	for index, name := range by {
		var list servingv1.RouteList
		if err := a.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: name}); err != nil {
			return nil, err
		}
		for i := range list.Items {
			if r := &list.Items[i]; !seen[r.Name] {
				seen[r.Name] = true
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}

// onlyDeletion lets deletions through. An object that was deleted and created again while the watch was interrupted comes as an update.
var onlyDeletion = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// whenChanged lets an update through when the result of read differs.
func whenChanged[T comparable](read func(client.Object) T) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return read(e.ObjectOld) != read(e.ObjectNew)
	}}
}

// bySomebodyElse drops the update that the controller itself caused with its last write.
func (a *Adapter) bySomebodyElse(kind string) predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			ours, known := a.wrote.Get(refOf(kind, e.ObjectNew))
			return !known || ours != e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			a.wrote.Drop(refOf(kind, e.Object))
			return true
		},
	}
}
