package kube_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestObjectOfSomebodyElseIsTakenOverWhenItGoes(t *testing.T) {
	notOwned := func(kind string) func(*bench) {
		return func(b *bench) {
			b.t.Helper()
			b.eventually("the Service says that it does not own the "+kind, func() (bool, string) {
				c := b.service("hello").Status.Condition("Ready")
				return c != nil && c.Reason == "NotOwned", fmt.Sprintf("%+v", c)
			})
		}
	}
	meta := metav1.ObjectMeta{Namespace: "default", Name: "hello"}
	for kind, other := range map[string]client.Object{
		"Route": &servingv1.Route{ObjectMeta: meta, Spec: servingv1.RouteSpec{Traffic: servingv1.Traffic{
			{ConfigurationName: "other", Percent: new(int64(100)), LatestRevision: new(true)},
		}}},
		"Configuration": &servingv1.Configuration{ObjectMeta: meta, Spec: newService("hello", "theirs").Spec.ConfigurationSpec},
	} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			if err := b.Create(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if kind == "Configuration" {
				b.eventually("theirs is ready", func() (bool, string) {
					c := &servingv1.Configuration{}
					err := b.Get(t.Context(), client.ObjectKeyFromObject(other), c)
					return err == nil && c.Status.LatestReadyRevisionName != "", fmt.Sprintf("%v %+v", err, c.Status)
				})
			}
			if err := b.Create(t.Context(), newService("hello", "ours")); err != nil {
				t.Fatal(err)
			}
			notOwned(kind)(b)
			if s := b.service("hello").Status; kind == "Configuration" && s.LatestReadyRevisionName != "" {
				t.Errorf("the Service shows %q of a Configuration that is not its own", s.LatestReadyRevisionName)
			}
			if err := b.Delete(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			b.eventuallyReady("hello")
		})
	}
}

func TestGeneratedNameThatAnotherObjectHasIsReported(t *testing.T) {
	b := newBench(t)
	theirs := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: helloOne.Name}}
	theirs.Spec = newService("x", "theirs").Spec.Template.Spec
	if err := b.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), newService("hello", "ours")); err != nil {
		t.Fatal(err)
	}
	b.eventually("the Service says that the name is taken", func() (bool, string) {
		c := b.service("hello").Status.Condition("ConfigurationsReady")
		return c != nil && c.Reason == "RevisionFailed", fmt.Sprintf("%+v", c)
	})
	if err := b.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello") // the name is free: nobody waits for the next look, which is for old revisions
}

// TestWhatOthersHaveAddedToOurObjectsStays changes a Service whose objects have finalizers and owners of others.
func TestWhatOthersHaveAddedToOurObjectsStays(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	owner := metav1.OwnerReference{APIVersion: "example.org/v1", Kind: "App", Name: "app", UID: "12345"}
	kinds := map[string]client.Object{"Configuration": &servingv1.Configuration{}, "Route": &servingv1.Route{}}
	for kind, o := range kinds {
		b.eventually("the "+kind+" has them", func() (bool, string) {
			if err := b.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "hello"}, o); err != nil {
				t.Fatal(err)
			}
			o.SetFinalizers([]string{"example.org/keep"})
			o.SetOwnerReferences(append(o.GetOwnerReferences(), owner))
			err := b.Update(t.Context(), o)
			return err == nil, fmt.Sprint(err)
		})
	}
	b.eventually("the Service is changed", func() (bool, string) {
		s := b.service("hello")
		s.Spec.Template.Spec.Containers[0].Command = []string{"two"}
		s.Labels = map[string]string{"changed": "yes"}
		err := b.Update(t.Context(), s)
		return err == nil, fmt.Sprint(err)
	})
	for kind, o := range kinds {
		b.eventually("the "+kind+" follows", func() (bool, string) {
			if err := b.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			return o.GetLabels()["changed"] == "yes", fmt.Sprint(o.GetLabels())
		})
		if f, owners := o.GetFinalizers(), o.GetOwnerReferences(); len(f) != 1 || len(owners) != 2 || owners[1].UID != owner.UID {
			t.Errorf("the %s has finalizers %v and owners %+v", kind, f, owners)
		}
		o.SetFinalizers(nil)
		if err := b.Update(t.Context(), o); err != nil {
			t.Logf("the %s keeps its finalizer: %v", kind, err)
		}
	}
}
