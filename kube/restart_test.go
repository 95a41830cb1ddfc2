package kube_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// routesAndServices are the versions of all Routes and Services.
func (b *bench) routesAndServices() map[string]string {
	b.t.Helper()
	versions := map[string]string{}
	for _, list := range []client.ObjectList{&servingv1.ServiceList{}, &servingv1.RouteList{}} {
		if err := b.List(b.t.Context(), list); err != nil {
			b.t.Fatal(err)
		}
		switch list := list.(type) {
		case *servingv1.ServiceList:
			for _, o := range list.Items {
				versions["Service "+o.Name] = o.ResourceVersion
			}
		case *servingv1.RouteList:
			for _, o := range list.Items {
				versions["Route "+o.Name] = o.ResourceVersion
			}
		}
	}
	return versions
}

func TestRestartLeavesReadyAloneUntilTheGatewayIsBack(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	stop := b.startAdapter()
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.eventually("nothing changes", func() (bool, string) {
		before := b.routesAndServices()
		time.Sleep(200 * time.Millisecond)
		after := b.routesAndServices()
		return cmp.Equal(before, after), fmt.Sprint(after)
	})
	stop()
	before := b.routesAndServices()
	b.mu.Lock()
	b.worlds, b.running, b.urls, b.silent = nil, map[model.Key]model.Workload{}, nil, true
	b.mu.Unlock()
	stop = b.startAdapter()
	defer stop()
	b.eventually("a World", func() (bool, string) { return len(b.newest().Routes) > 0, "none" })
	unchanged := func() (bool, string) {
		after := b.routesAndServices()
		return cmp.Equal(after, before), cmp.Diff(before, after)
	}
	b.stays("Route and Service are as they were, with no gateway yet", unchanged)
	if got := b.announced(); got != "[]" {
		t.Errorf("%s is announced before a gateway has it", got)
	}
	b.adapter.Programmed(b.newest().Generation)
	b.stays("and when it has all", unchanged)
	if got, want := b.announced(), "[http://hello.default.localhost:8080]"; got != want {
		t.Errorf("%s is announced after the restart, want %s", got, want)
	}
}

// existing makes Services as a process before this one left them: each with a Route that sends everything to its ready revision.
func (b *bench) existing(n int) {
	b.t.Helper()
	var making errgroup.Group
	making.SetLimit(16)
	for i := range n {
		making.Go(func() error { return b.makeExisting(fmt.Sprintf("s%d", i)) })
	}
	if err := making.Wait(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) makeExisting(name string) error {
	ctx := b.t.Context()
	ready := []servingv1.Condition{{Type: servingv1.ConditionReady, Status: "True"}}
	revision := &servingv1.Revision{}
	revision.Namespace, revision.Name = "default", name+"-00001"
	revision.Spec.Containers = []servingv1.Container{{Image: "local/app", Command: []string{"app"}}}
	if err := b.Create(ctx, revision); err != nil {
		return err
	}
	revision.Status.Conditions, revision.Status.DesiredReplicas = ready, new(int32(0))
	if err := b.Status().Update(ctx, revision); err != nil {
		return err
	}
	route := &servingv1.Route{}
	route.Namespace, route.Name = "default", name
	route.Spec.Traffic = servingv1.Traffic{{RevisionName: revision.Name, Percent: new(int64(100))}}
	return b.Create(ctx, route)
}

// A busy machine is one on which decisions about revisions take their time: the last of them comes long after the first.
func TestFirstWorldOfABusyMachineHasEverything(t *testing.T) {
	const services = 300
	b := newBenchWithoutAdapter(t)
	b.existing(services)
	b.busy = 10 * time.Millisecond
	t.Cleanup(b.startAdapter())
	b.eventually("a World", func() (bool, string) { return b.newest().Generation > 0, "none" })
	var first *model.World
	var waited []string
	b.eventually("the end of the waiting", func() (bool, string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		first, waited = b.worlds[0], slices.Clone(b.waited)
		return len(waited) > 0 && waited[len(waited)-1] == "", fmt.Sprintf("%q", waited)
	})
	if len(first.Routes) != services || len(first.Backends) != services {
		t.Errorf("the first World has %d routes and %d backends, want %d: gateways that serve the rest would remove it",
			len(first.Routes), len(first.Backends), services)
	}
	if len(waited) < 2 || !strings.Contains(waited[0], fmt.Sprintf("of %d objects", 2*services)) {
		t.Errorf("it reports %q as what is awaited", waited)
	}
}
