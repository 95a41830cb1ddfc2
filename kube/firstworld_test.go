package kube

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube/world"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
)

// newTestAdapter is an Adapter that knows no API server.
func newTestAdapter() *Adapter {
	a := &Adapter{log: hclog.NewNullLogger(), assembler: world.NewAssembler(model.Gateway{}, ""), barrier: world.NewBarrier()}
	a.backing = world.NewBacking(a.assembler, func(model.Key, bool) {})
	return a
}

func refs(names ...string) []model.Ref {
	var all []model.Ref
	for _, name := range names {
		all = append(all, model.Ref{Kind: kindRoute, Key: model.Key{Namespace: "default", Name: name}})
	}
	return all
}

func TestFirstWorldWaitsForEverythingThatExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, all := newTestAdapter(), refs("one", "two")
		worlds := make(chan *model.World, 1)
		a.options.Worlds = func(w *model.World) { worlds <- w }
		ctx, cancel := context.WithCancel(t.Context())
		var emitting sync.WaitGroup
		emitting.Go(func() { _ = a.emitWorlds(ctx) })
		defer emitting.Wait()
		defer cancel()
		a.assembler.SetRoute(&model.Route{Key: all[0].Key})
		a.barrier.Expect(all)
		a.barrier.Settle(all[0])
		synctest.Wait()
		select {
		case w := <-worlds:
			t.Fatalf("got a World of generation %d while a route had not been reconciled", w.Generation)
		default:
		}
		a.barrier.Settle(all[1])
		if w := <-worlds; len(w.Routes) != 1 {
			t.Fatalf("got a World of %d routes, want the one that is set", len(w.Routes))
		}
	})
}

func TestFirstWorldWaitsForAnActivatorWhereThatIsExpected(t *testing.T) {
	one := refs("one")[0]
	there := []model.Endpoint{{Host: "127.0.0.1", Port: 8012}}
	for name, c := range map[string]struct {
		steps []func(*Adapter)
		want  bool
	}{
		"none came": {[]func(*Adapter){func(a *Adapter) { a.Activators(nil) }, func(a *Adapter) { a.barrier.Settle(one) }},
			false},
		"none came for long": {[]func(*Adapter){func(a *Adapter) { a.barrier.Settle(one) },
			func(a *Adapter) { a.barrier.SettleAll() }}, true},
		"one came": {[]func(*Adapter){func(a *Adapter) { a.barrier.Settle(one) },
			func(a *Adapter) { a.Activators(there) }}, true},
		"one came, a route did not": {[]func(*Adapter){func(a *Adapter) { a.Activators(there) }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestAdapter()
			a.barrier.Expect([]model.Ref{one, world.SomeActivator})
			for _, step := range c.steps {
				step(a)
			}
			if got := a.barrier.IsComplete(); got != c.want {
				t.Errorf("the first World is complete: %t, want %t", got, c.want)
			}
		})
	}
	early := newTestAdapter()
	early.Activators(there)
	early.barrier.Expect([]model.Ref{world.SomeActivator})
	if !early.barrier.IsComplete() {
		t.Error("the barrier waits for an activator that came before it was expected")
	}
}

func TestObjectThatCannotBeReconciledHoldsNothingUp(t *testing.T) {
	o := refs("broken")[0]
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "routes"}, "broken", errors.New("somebody was faster"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		do   func() error
		want bool
	}{
		"it is known":                  {t.Context(), func() error { return nil }, true},
		"it fails":                     {t.Context(), func() error { return errors.New("no") }, true},
		"it panics":                    {t.Context(), func() error { panic("no") }, true},
		"another was faster":           {t.Context(), func() error { return conflict }, false},
		"it fails because we are done": {ended, func() error { return context.Canceled }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestAdapter()
			a.barrier.Expect([]model.Ref{o})
			func() {
				defer func() { _ = recover() }() // as controller-runtime does
				_, _ = a.settling(kindRoute, func(context.Context, ctrl.Request) (ctrl.Result, error) {
					return ctrl.Result{}, c.do()
				})(c.ctx, request("default", "broken"))
			}()
			if got := a.barrier.IsComplete(); got != c.want {
				t.Errorf("the object is settled: %t, want %t", got, c.want)
			}
		})
	}
}

func TestObjectsOfTheFirstWorldAreEnqueued(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	api, err := apiserver.Start(ctx, apiserver.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); <-api.Done() }()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{servingv1.AddToScheme, servingv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(api.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	existing := &servingv1.Route{}
	existing.Namespace, existing.Name = "default", "hello"
	existing.Spec.Traffic = servingv1.Traffic{{ConfigurationName: "hello", Percent: new(int64(100)), LatestRevision: new(true)}}
	if err := c.Create(ctx, existing); err != nil {
		t.Fatal(err)
	}
	mapping := &servingv1beta1.DomainMapping{}
	mapping.Namespace, mapping.Name = "default", "www.example.com"
	mapping.Spec.Ref = servingv1beta1.Reference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "hello"}
	if err := c.Create(ctx, mapping); err != nil {
		t.Fatal(err)
	}
	looked, done := context.WithCancel(ctx)
	a := newTestAdapter()
	a.client = c
	a.options.Waiting = func(string) { done() } // it has listed, and waits
	if err := a.awaitFirstWorld(looked); err != nil {
		t.Fatal(err)
	}
	if want := []model.Key{{Namespace: "default", Name: "hello"}}; !slices.Equal(a.routes.waiting, want) {
		t.Errorf("routes to look at are %v, want %v: the first World waits for it", a.routes.waiting, want)
	}
	if want := []model.Key{{Namespace: "default", Name: "www.example.com"}}; !slices.Equal(a.mappings.waiting, want) {
		t.Errorf("domain mappings to look at are %v, want %v", a.mappings.waiting, want)
	}
}
