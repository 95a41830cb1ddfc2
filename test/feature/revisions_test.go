package feature

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// TestDeletingTheLatestRevisionCostsNoRequest deletes it under load while an older one is ready. The Configuration makes it again, and
// until then the older one serves.
func TestDeletingTheLatestRevisionCostsNoRequest(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		s.create(newApp(t, "hello", nil))
		s.change("hello", func(o *servingv1.Service) {
			o.Spec.Template.Spec.Containers[0].Env = []servingv1.EnvVar{{Name: "ROUND", Value: "2"}}
		})
		s.ready("hello")
		l := s.startLoad(host, 8)
		for range 5 {
			l.reaches(t, l.soFar()+50)
			was := s.revision("hello-00002")
			if err := s.Delete(t.Context(), was); err != nil {
				t.Fatal(err)
			}
			eventually(t, "there is another of its name", func() error {
				is := &servingv1.Revision{}
				if err := s.Get(t.Context(), client.ObjectKeyFromObject(was), is); err != nil {
					return err
				}
				if c := is.Status.Condition(servingv1.ConditionReady); is.UID == was.UID || c == nil || c.Status != "True" {
					return fmt.Errorf("%s is %+v", is.UID, c)
				}
				return nil
			})
		}
		l.reaches(t, l.soFar()+50)
		if answered, failed := l.stop(); len(failed) > 0 {
			t.Errorf("%d requests were answered and %d failed: %s", answered, len(failed), failed[0])
		}
	})
}

// TestSupersededRevisionThatCrashesIsGivenUp, even with a min-scale: no Route waits for it.
func TestSupersededRevisionThatCrashesIsGivenUp(t *testing.T) {
	t.Parallel()
	s := embed(t)
	o := newApp(t, "hello", map[string]string{autoscaling + "min-scale": "1"}, "EXIT", "3")
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its status says that it crashes", func() error {
		if c := s.service("hello").Status.Condition(servingv1.ConditionReady); c == nil || c.Status != "False" {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
	s.change("hello", func(o *servingv1.Service) { o.Spec.Template.Spec.Containers[0].Env = nil })
	s.ready("hello")
	s.scaledTo("hello-00001", 0)
	s.scaledTo("hello-00002", 1)
}
