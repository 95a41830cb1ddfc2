package kube_test

import (
	"fmt"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestMinScaleHoldsFromTheFirstMomentUntilSuperseded(t *testing.T) {
	b := newBench(t)
	s := newService("hello", "one")
	s.Spec.Template.Metadata.Name = "hello-one" // the Route comes after the revision then
	s.Spec.Template.Metadata.Annotations = map[string]string{"autoscaling.knative.dev/min-scale": "3"}
	s.Spec.Traffic = servingv1.Traffic{to("hello-one", "", 100)}
	if err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	newest := func(name string) func(*servingv1.Service) {
		return func(s *servingv1.Service) { s.Spec.Template.Metadata.Name = name }
	}
	b.change("hello", newest("hello-two")) // no traffic for it yet
	b.eventually("a second revision runs", func() (bool, string) { n := b.scales("hello-two"); return len(n) > 0, fmt.Sprint(n) })
	time.Sleep(1500 * time.Millisecond) // longer than labels are gathered for
	for _, name := range []string{"hello-one", "hello-two"} {
		for _, n := range b.scales(name) {
			if n != 3 {
				t.Errorf("%s had %v replicas one after the other, want always 3", name, b.scales(name))
				break
			}
		}
	}
	b.change("hello", newest("hello-three"))
	b.eventually("the one that is neither routed nor the newest does without its least", func() (bool, string) {
		n := b.scales("hello-two")
		return n[len(n)-1] == 1, fmt.Sprint(n)
	})
}

// scales are the numbers of replicas that the runtime was asked to run of a revision, one after the other.
func (b *bench) scales(revision string) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int(nil), b.asked[revision]...)
}
