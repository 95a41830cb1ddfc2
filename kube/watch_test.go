package kube

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestOnlyDeletionSeesAnObjectThatWasReplaced(t *testing.T) {
	service := func(uid types.UID, generation int64) *servingv1.Service {
		s := &servingv1.Service{}
		s.Name, s.UID, s.Generation = "hello", uid, generation
		return s
	}
	for name, c := range map[string]struct {
		before, after *servingv1.Service
		want          bool
	}{
		"the same, changed":         {service("a", 1), service("a", 2), false},
		"another one with its name": {service("a", 1), service("b", 1), true},
	} {
		if got := onlyDeletion.Update(event.UpdateEvent{ObjectOld: c.before, ObjectNew: c.after}); got != c.want {
			t.Errorf("%s: let through is %v, want %v", name, got, c.want)
		}
	}
}
