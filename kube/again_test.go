package kube_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

var helloOne = model.Key{Namespace: "default", Name: "hello-00001"}

// stays fails the test when something does not hold for half a second.
func (b *bench) stays(what string, holds func() (bool, string)) {
	b.t.Helper()
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok, have := holds(); !ok {
			b.t.Fatalf("%s: no longer: %s", what, have)
		}
	}
}

// endpoints are those of a revision in the newest World.
func (b *bench) endpoints(revision model.Key) []model.Endpoint {
	for _, backend := range b.newest().Backends {
		if backend.Revision == revision {
			return backend.Endpoints
		}
	}
	return nil
}

func TestLateReportOnADeletedRevisionDoesNotReplaceTheNewOne(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	// A replica of a revision that had the name before has drained at last.
	b.adapter.Observe(model.WorkloadStatus{Revision: helloOne, UID: "of-the-one-before"})
	b.stays("the revision has its endpoint", func() (bool, string) {
		have := b.endpoints(helloOne)
		return len(have) == 1, fmt.Sprint(have)
	})
}

func TestServiceDeletedAndMadeAgainAtOnce(t *testing.T) {
	b := newBench(t)
	for round := range 5 {
		if err := b.Create(t.Context(), newService("hello", fmt.Sprint(round))); err != nil {
			t.Fatal(err)
		}
		s := b.eventuallyReady("hello")
		revision := &servingv1.Revision{}
		if err := b.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: helloOne.Name}, revision); err != nil {
			t.Fatal(err)
		}
		if got := revision.Labels[servingv1.ServiceUIDLabel]; got != string(s.UID) {
			t.Errorf("round %d: the revision is that of Service %s, want %s", round, got, s.UID)
		}
		b.eventually("the runtime runs the new revision", func() (bool, string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.running[helloOne].UID == string(revision.UID), b.running[helloOne].UID
		})
		if err := b.Delete(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}
