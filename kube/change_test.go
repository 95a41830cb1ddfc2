package kube_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// never is a patience that no machine is too slow for.
const never = time.Hour

// twoRevisions makes the Service hello, of which the second revision has all requests, and waits until nothing is written any
// more.
func (b *bench) twoRevisions() {
	b.t.Helper()
	if err := b.Create(b.t.Context(), newService("hello", "one")); err != nil {
		b.t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	b.eventuallyReady("hello")
	// Both are named from the start, so that no label of theirs follows what comes.
	b.change("hello", traffic(to("hello-00001", "", 0), to("hello-00002", "", 100)))
	b.eventuallyReady("hello")
	b.eventually("the revisions' labels say that they are named", func() (bool, string) {
		var list servingv1.RevisionList
		if err := b.List(b.t.Context(), &list,
			client.MatchingLabels{servingv1.RoutingStateLabel: servingv1.RoutingStateActive}); err != nil {
			b.t.Fatal(err)
		}
		return len(list.Items) == 2, strconv.Itoa(len(list.Items))
	})
	last := b.writes()
	b.eventually("nothing is written", func() (bool, string) {
		was := last
		time.Sleep(300 * time.Millisecond)
		last = b.writes()
		return last == was, strconv.Itoa(last)
	})
}

// writes is how many writes the API has taken.
func (b *bench) writes() int {
	b.t.Helper()
	var list servingv1.ServiceList
	if err := b.List(b.t.Context(), &list); err != nil {
		b.t.Fatal(err)
	}
	n, err := strconv.Atoi(list.ResourceVersion)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bench) route(name string) *servingv1.Route {
	b.t.Helper()
	r := &servingv1.Route{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) setSilent(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = yes
}

func TestChangeOfTrafficIsThreeWrites(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	b.patience = never
	t.Cleanup(b.startAdapter())
	b.twoRevisions()
	for i, percent := range []int64{30, 100, 0} {
		before := b.writes()
		b.change("hello", traffic(to("hello-00001", "", percent), to("hello-00002", "", 100-percent)))
		s := b.eventuallyReady("hello")
		if n := b.writes() - before; n != 3 {
			t.Errorf("change %d was %d writes, want the user's, the Route's and the Service's status", i, n)
		}
		r := b.route("hello")
		if r.Status.ObservedGeneration != r.Generation || !cmp.Equal([]servingv1.TrafficTarget(r.Spec.Traffic), r.Status.Traffic) ||
			!cmp.Equal(s.Status.Traffic, r.Status.Traffic) {
			t.Errorf("change %d: the Route is %+v, the Service's status %+v", i, r, s.Status)
		}
	}
}

func TestDataPlaneGetsAChangeBeforeItIsWritten(t *testing.T) {
	for name, direct := range map[string]bool{"in one process": true, "over the API": false} {
		t.Run(name, func(t *testing.T) {
			b := newBenchWithoutAdapter(t)
			b.patience = never
			if !direct {
				b.put = nil
			}
			t.Cleanup(b.startAdapter())
			b.twoRevisions()
			b.setSilent(true)
			before := b.writes()
			b.change("hello", traffic(to("hello-00001", "", 40), to("hello-00002", "", 60)))
			b.eventuallySplit("hello", map[string]int{"hello-00001": 40, "hello-00002": 60})
			if n := b.writes() - before; n != 1 {
				t.Errorf("%d writes when the data plane had the change, want the user's", n)
			}
			// Neither says that it is in force.
			if s := b.service("hello"); s.Status.ObservedGeneration == s.Generation {
				t.Errorf("the Service's status %+v is of a change that nobody serves", s.Status)
			}
			b.setSilent(false)
			b.adapter.Programmed(b.newest().Generation)
			b.eventuallyReady("hello")
			if r := b.route("hello"); r.Status.ObservedGeneration != r.Generation || *r.Spec.Traffic[0].Percent != 40 {
				t.Errorf("the Route is %+v", r)
			}
		})
	}
}

func TestStatusSaysThatAChangeIsNotInForceYet(t *testing.T) {
	b := newBench(t)
	b.twoRevisions()
	b.setSilent(true)
	b.change("hello", traffic(to("hello-00001", "", 40), to("hello-00002", "", 60)))
	b.eventually("the Route waits for the gateways", func() (bool, string) {
		r := b.route("hello")
		c := r.Status.Condition(servingv1.ConditionIngressReady)
		return *r.Spec.Traffic[0].Percent == 40 && r.Status.ObservedGeneration == r.Generation && c.Status == "Unknown", ""
	})
	b.eventually("the Service is not ready", func() (bool, string) {
		s := b.service("hello")
		c := s.Status.Condition(servingv1.ConditionReady)
		return s.Status.ObservedGeneration == s.Generation && c.Status == "Unknown", ""
	})
	b.setSilent(false)
	b.adapter.Programmed(b.newest().Generation)
	b.eventuallyReady("hello")
}
