package kube_test

import (
	"fmt"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func TestOldRevisionsThatNoRouteNamesAreRetired(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	b.retention = &rollout.Retention{SinceCreated: time.Nanosecond, SinceActive: time.Nanosecond, Min: 1, Max: 1}
	t.Cleanup(b.startAdapter())
	if err := b.Create(t.Context(), newService("hello", "1")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	for i := range 5 {
		b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = fmt.Sprint(i + 2) })
		b.eventuallySplit("hello", map[string]int{fmt.Sprintf("hello-%05d", i+2): 100})
	}
	b.eventually("one unrouted revision is left beside the routed one, and no other runs", func() (bool, string) {
		var revisions servingv1.RevisionList
		if err := b.List(t.Context(), &revisions); err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		_, routed := b.running[model.Key{Namespace: "default", Name: "hello-00006"}]
		running := len(b.running)
		b.mu.Unlock()
		return len(revisions.Items) == 2 && running == 2 && routed, fmt.Sprintf("%d revisions, %d running", len(revisions.Items), running)
	})
	b.eventuallyReady("hello")
}
