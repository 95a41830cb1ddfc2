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

func TestGeneratedNameThatSomebodyElseHasIsTold(t *testing.T) {
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
}
