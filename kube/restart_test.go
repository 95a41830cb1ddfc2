package kube_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
