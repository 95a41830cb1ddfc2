package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
)

func newTestAssembler() *assembler { return newAssembler(model.Gateway{}, func(model.Key, bool) {}) }

func refs(names ...string) []model.Ref {
	var all []model.Ref
	for _, name := range names {
		all = append(all, model.Ref{Kind: kindRoute, Key: model.Key{Namespace: "default", Name: name}})
	}
	return all
}

func TestFirstWorldWaitsForEverythingThatExists(t *testing.T) {
	a, all := newTestAssembler(), refs("one", "two")
	a.expect(all)
	a.settle(all[0])
	if w := a.world(); w != nil {
		t.Fatalf("got a World of generation %d while a route had not been looked at", w.Generation)
	}
	a.settle(all[1])
	if a.world() == nil {
		t.Fatal("no World although everything has been looked at")
	}
}

func TestFirstWorldWaitsForAnActivatorWhereThatIsExpected(t *testing.T) {
	one := refs("one")[0]
	there := []model.Endpoint{{Host: "127.0.0.1", Port: 8012}}
	for name, c := range map[string]struct {
		steps []func(*assembler)
		want  bool
	}{
		"none came":                 {[]func(*assembler){func(a *assembler) { a.setActivators(nil) }, func(a *assembler) { a.settle(one) }}, false},
		"none came for long":        {[]func(*assembler){func(a *assembler) { a.settle(one) }, func(a *assembler) { a.settleAll() }}, true},
		"one came":                  {[]func(*assembler){func(a *assembler) { a.settle(one) }, func(a *assembler) { a.setActivators(there) }}, true},
		"one came, a route did not": {[]func(*assembler){func(a *assembler) { a.setActivators(there) }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestAssembler()
			a.expect([]model.Ref{one, someActivator})
			for _, step := range c.steps {
				step(a)
			}
			if got := a.world() != nil; got != c.want {
				t.Errorf("there is a World: %t, want %t", got, c.want)
			}
		})
	}
	early := newTestAssembler()
	early.setActivators(there)
	early.expect([]model.Ref{someActivator})
	if early.world() == nil {
		t.Error("an activator that came before it was expected is waited for")
	}
}

// waiter runs a firstWorld in a bubble of synctest and keeps what it says.
type waiter struct {
	said, logged, warned []string
}

func (w *waiter) await(ctx context.Context, a *assembler, expected []model.Ref) {
	a.expect(expected)
	line := func(to *[]string) func(string, ...any) {
		return func(message string, args ...any) { *to = append(*to, message+": "+fmt.Sprint(args...)) }
	}
	firstWorld{
		assembler: a, of: len(expected), say: func(what string) { w.said = append(w.said, what) },
		log: line(&w.logged), warn: line(&w.warned),
	}.await(ctx)
}

func TestFirstWorldTakesAsLongAsItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, all := newTestAssembler(), refs("a", "b", "c")
		var settling sync.WaitGroup
		defer settling.Wait()
		settling.Go(func() {
			for _, o := range all {
				time.Sleep(stalledAfter - time.Second)
				if a.world() != nil {
					t.Errorf("there is a World without %v", o)
				}
				a.settle(o)
			}
		})
		w := &waiter{}
		w.await(t.Context(), a, all)
		if a.world() == nil || len(w.warned) > 0 {
			t.Errorf("no World, or a warning: %v", w.warned)
		}
		want := []string{
			"3 of 3 objects: Route default/a, Route default/b, Route default/c", "2 of 3 objects: Route default/b, Route default/c",
			"1 of 3 objects: Route default/c", "",
		}
		if diff := cmp.Diff(want, w.said); diff != "" {
			t.Errorf("what is waited for (-want +got):\n%s", diff)
		}
		if len(w.logged) < 3 {
			t.Errorf("it is logged %d times what is waited for", len(w.logged))
		}
	})
}

func TestFirstWorldGoesWithoutWhatStallsAndNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, all := newTestAssembler(), refs("a", "b", "c", "d", "e", "f", "g")
		var settling sync.WaitGroup
		defer settling.Wait()
		settling.Go(func() {
			time.Sleep(stalledAfter - time.Second)
			a.settle(all[0])
			time.Sleep(stalledAfter - time.Second)
			if a.world() != nil {
				t.Error("there is a World although something became known within the time")
			}
		})
		w := &waiter{}
		w.await(t.Context(), a, all)
		if a.world() == nil || len(w.warned) != 1 || !strings.Contains(w.warned[0], "Route default/b") || !strings.Contains(w.warned[0], "1 more") {
			t.Errorf("warnings %q", w.warned)
		}
	})
}

func TestFirstWorldThatLacksNoneButAnActivatorSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := newTestAssembler(), &waiter{}
		w.await(t.Context(), a, []model.Ref{someActivator})
		if a.world() == nil || len(w.warned) != 1 || !strings.Contains(w.warned[0], "activator") {
			t.Errorf("warnings %q", w.warned)
		}
		if want := "1 of 1 objects: an activator that connects"; w.said[0] != want {
			t.Errorf("it waits for %q, want %q", w.said[0], want)
		}
	})
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
			a := &Adapter{assembler: newTestAssembler(), log: hclog.NewNullLogger()}
			a.assembler.expect([]model.Ref{o})
			func() {
				defer func() { _ = recover() }() // as controller-runtime does
				_, _ = a.settling(kindRoute, func(context.Context, ctrl.Request) (ctrl.Result, error) { return ctrl.Result{}, c.do() })(c.ctx, request("default", "broken"))
			}()
			if got := a.assembler.world() != nil; got != c.want {
				t.Errorf("the object is settled: %t, want %t", got, c.want)
			}
		})
	}
}

func TestWhatTheFirstWorldWaitsForIsLookedAt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	api, err := apiserver.Start(ctx, apiserver.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); <-api.Done() }()
	scheme := runtime.NewScheme()
	if err := servingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
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
	looked, done := context.WithCancel(ctx)
	a := &Adapter{client: c, log: hclog.NewNullLogger(), assembler: newTestAssembler()}
	a.options.Waiting = func(string) { done() } // it has listed, and waits
	if err := a.awaitFirstWorld(looked); err != nil {
		t.Fatal(err)
	}
	if want := []model.Key{{Namespace: "default", Name: "hello"}}; !slices.Equal(a.routes.waiting, want) {
		t.Errorf("routes to look at are %v, want %v: the first World waits for it", a.routes.waiting, want)
	}
}
