package kube_test

import (
	"context"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// TestServiceSaysWhatTheAPIServerRefusesForIt takes the rules out of the schema of Services. Those of Routes still hold.
func TestServiceSaysWhatTheAPIServerRefusesForIt(t *testing.T) {
	b := newClusterBench(t, nil)
	b.create(newService("good", "one"), newService("spoiled", "one"))
	b.eventuallyReady("good")
	b.eventuallyReady("spoiled")

	kinds := definitionClient(t, b)
	definition := &apiextensionsv1.CustomResourceDefinition{}
	name := types.NamespacedName{Name: "services.serving.knative.dev"}
	if err := kinds.Get(t.Context(), name, definition); err != nil {
		t.Fatal(err)
	}
	schema := definition.Spec.Versions[0].Schema.DeepCopy()
	definition.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
	if err := kinds.Update(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the other tests share the API server
		ctx := context.Background()
		if err := kinds.Get(ctx, name, definition); err != nil {
			t.Fatal(err)
		}
		definition.Spec.Versions[0].Schema = schema
		if err := kinds.Update(ctx, definition); err != nil {
			t.Fatal(err)
		}
	})

	b.eventually("the API server takes a Service without a whole split", func() (bool, string) {
		s := newService("bad", "one")
		s.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(70))}}
		err := b.Create(t.Context(), s)
		return err == nil || apierrors.IsAlreadyExists(err), "it refuses"
	})
	b.change("spoiled", func(s *servingv1.Service) {
		s.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(60))}}
	})
	for service, want := range map[string]string{"bad": "sum to 70, want 100", "spoiled": "sum to 60, want 100"} {
		b.eventually("the status of "+service+" says so", func() (bool, string) {
			c := b.service(service).Status.Condition(servingv1.ConditionRoutesReady)
			if c == nil {
				return false, "no condition"
			}
			return c.Status == metav1.ConditionFalse && strings.Contains(c.Message, want), string(c.Status) + " " + c.Message
		})
	}
	b.change("good", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	b.eventuallyReady("good")
	if c := b.service("spoiled").Status; c.LatestReadyRevisionName == "" {
		t.Error("the Service that was spoiled has lost its revision")
	}
	for _, service := range []string{"bad", "spoiled"} {
		b.change(service, func(s *servingv1.Service) { s.Spec.Traffic[0].Percent = new(int64(100)) })
		b.eventuallyReady(service)
	}
}

// definitionClient reads and writes definitions of kinds.
func definitionClient(t *testing.T, b *bench) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(b.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
