package kube_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/autoscaler"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

func (b *bench) revision(name string) *servingv1.Revision {
	r := &servingv1.Revision{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

// via is how the newest World says that requests reach a revision.
func (b *bench) via(revision string) (model.Via, int) {
	for _, r := range b.newest().Backends {
		if r.Revision.Name == revision {
			return r.Via, len(r.Endpoints)
		}
	}
	return "", 0
}

// quickly is a bench on which an idle revision ends soon.
func quickly(t *testing.T) *bench {
	b := newBenchWithoutAdapter(t)
	b.scaling = autoscaler.DefaultConfig()
	b.scaling.StableWindow, b.scaling.ScaleToZeroGrace = 6*time.Second, time.Second
	b.scaling.TargetBurstCapacity = 0 // requests go to the replicas while there are any
	t.Cleanup(b.startAdapter())
	return b
}

func TestLastReplicaEndsAfterEveryClientKnowsTheActivators(t *testing.T) {
	b := quickly(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.eventually("requests go to the replica", func() (bool, string) {
		via, n := b.via("hello-00001")
		return via == model.ViaReplicas && n == 1, fmt.Sprint(via, n)
	})
	b.mu.Lock()
	b.silent = true
	b.mu.Unlock()
	b.eventually("requests go to the activators", func() (bool, string) {
		via, n := b.via("hello-00001")
		return via == model.ViaActivator && n == 1, fmt.Sprint(via, n)
	})
	time.Sleep(4 * time.Second) // longer than the grace; nobody has acknowledged
	if n := b.scales("hello-00001"); n[len(n)-1] != 1 {
		t.Fatalf("the runtime was asked for %v replicas before any client knew", n)
	}
	b.adapter.Reached(b.newest().Generation)
	b.eventually("the replica ends", func() (bool, string) {
		n := b.scales("hello-00001")
		return n[len(n)-1] == 0, fmt.Sprint(n)
	})
	b.eventually("the status says so", func() (bool, string) {
		s := b.revision("hello-00001").Status
		active, ready := s.Condition("Active"), s.Condition("Ready")
		ok := active != nil && active.Status == "False" && active.Reason == "NoTraffic" && ready.Status == "True" &&
			*s.DesiredReplicas == 0 && *s.ActualReplicas == 0 &&
			strings.HasPrefix(s.Annotations[servingv1.ScaleWhyAnnotation], "0 replicas: ")
		return ok, fmt.Sprintf("%+v", s)
	})
	if service := b.service("hello"); service.Status.Condition("Ready").Status != "True" {
		t.Errorf("a service that sleeps is not ready: %+v", service.Status.Conditions)
	}
}

func TestRestartDoesNotWakeARevision(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	b.scaling = autoscaler.DefaultConfig()
	b.scaling.StableWindow, b.scaling.ScaleToZeroGrace = 6*time.Second, time.Second
	stop := b.startAdapter()
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.eventually("it sleeps", func() (bool, string) {
		d := b.revision("hello-00001").Status.DesiredReplicas
		return d != nil && *d == 0, fmt.Sprint(d)
	})
	stop()
	b.mu.Lock()
	b.worlds, b.asked = nil, map[string][]int{}
	b.mu.Unlock()
	t.Cleanup(b.startAdapter())
	b.eventually("the first World has it behind the activators", func() (bool, string) {
		via, n := b.via("hello-00001")
		return via == model.ViaActivator && n == 0, fmt.Sprint(via, n)
	})
	for _, n := range b.scales("hello-00001") {
		if n != 0 {
			t.Errorf("the runtime was asked for %v replicas", b.scales("hello-00001"))
		}
	}
}

func TestInitialScaleHoldsReadinessBack(t *testing.T) {
	b := quickly(t)
	b.mu.Lock()
	b.mute["hello-00001"] = true
	b.mu.Unlock()
	s := newService("hello", "one")
	s.Spec.Template.Metadata.Annotations = map[string]string{"autoscaling.knative.dev/initial-scale": "3"}
	if err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.eventually("three are asked for", func() (bool, string) {
		n := b.scales("hello-00001")
		return len(n) > 0 && n[len(n)-1] == 3, fmt.Sprint(n)
	})
	key := model.Key{Namespace: "default", Name: "hello-00001"}
	uid := string(b.revision("hello-00001").UID)
	report := func(n int) {
		status := model.WorkloadStatus{Revision: key, UID: uid, Running: 3}
		for i := range n {
			status.Ready = append(status.Ready, model.Endpoint{Host: "127.0.0.1", Port: 9000 + i})
			status.Metrics = append(status.Metrics, model.Scrape{URL: fmt.Sprintf("http://127.0.0.1:%d", 9000+i)})
		}
		b.adapter.Observe(status)
	}
	report(2)
	b.eventually("two are seen", func() (bool, string) {
		a := b.revision("hello-00001").Status.ActualReplicas
		return a != nil && *a == 2, fmt.Sprint(a)
	})
	if c := b.revision("hello-00001").Status.Condition("Ready"); c.Status == "True" {
		t.Error("ready with two of three initial replicas")
	}
	report(3)
	b.eventuallyReady("hello")
}
