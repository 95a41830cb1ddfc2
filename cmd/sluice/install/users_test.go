package install

import (
	"context"
	"maps"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	servingv1 "sluice.dev/sluice/crds/serving/v1"

	"sluice.dev/sluice/test/kubeapi"
)

// as returns a client of Services of namespace default for a user.
func as(t *testing.T, config *rest.Config, user, plural string) dynamic.ResourceInterface {
	t.Helper()
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(schema.GroupVersionResource{Group: servingGroup, Version: "v1", Resource: plural}).Namespace("default")
}

func object(kind, name string, annotations map[string]string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": servingGroup + "/v1", "kind": kind,
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "a"}}}}},
	}}
	o.SetGenerateName(name + "-") // tests may run twice in one API server
	o.SetAnnotations(annotations)
	return o
}

// usersOf returns the annotations of an object for who created and last changed it.
func usersOf(o *unstructured.Unstructured) [2]string {
	a := o.GetAnnotations()
	return [2]string{a[servingv1.CreatorAnnotation], a[servingv1.LastModifierAnnotation]}
}

func TestUsersAreRecorded(t *testing.T) {
	config := kubeapi.Start(t)
	o := Defaults()
	o.Namespace, o.RecordUsers = "record-users", true
	apply(t, config, objectsOf(t, o))
	ctx := t.Context()
	alice, bob := as(t, config, "alice", "services"), as(t, config, "bob", "services")
	awaitPolicy(ctx, t, alice)

	forged := map[string]string{"team": "blue", servingv1.CreatorAnnotation: "root", servingv1.LastModifierAnnotation: "root"}
	made, err := alice.Create(ctx, object("Service", "hello", forged), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name   string
		by     dynamic.ResourceInterface
		change func(*unstructured.Unstructured)
		want   [2]string
	}{
		{"created", alice, func(*unstructured.Unstructured) {}, [2]string{"alice", "alice"}},
		{"a label", bob, func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{"a": "b"}) }, [2]string{"alice", "alice"}},
		{"another creator", bob, func(o *unstructured.Unstructured) { o.SetAnnotations(forged) }, [2]string{"alice", "alice"}},
		{"no annotations", bob, func(o *unstructured.Unstructured) { o.SetAnnotations(nil) }, [2]string{"alice", "alice"}},
		{"the spec", bob, func(o *unstructured.Unstructured) {
			o.Object["spec"] = object("Service", "", nil).Object["spec"]
			_ = unstructured.SetNestedField(o.Object, int64(7), "spec", "template", "spec", "timeoutSeconds")
		}, [2]string{"alice", "bob"}},
		{"a label again", alice, func(o *unstructured.Unstructured) { o.SetLabels(nil) }, [2]string{"alice", "bob"}},
	}
	for _, step := range steps {
		step.change(made)
		if made, err = step.by.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := usersOf(made); got != step.want {
			t.Errorf("%s: creator and last modifier are %v, want %v", step.name, got, step.want)
		}
	}
}

func TestWhatHasAnOwnerHasTheUsersOfItsOwner(t *testing.T) {
	config := kubeapi.Start(t)
	o := Defaults()
	o.Namespace, o.RecordUsers = "record-users", true
	apply(t, config, objectsOf(t, o))
	ctx := t.Context()
	awaitPolicy(ctx, t, as(t, config, "alice", "services"))
	users := map[string]string{servingv1.CreatorAnnotation: "alice", servingv1.LastModifierAnnotation: "bob"}
	owned := object("Configuration", "hello", maps.Clone(users))
	owned.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: servingGroup + "/v1", Kind: "Service", Name: "hello", UID: "1"}})
	made, err := as(t, config, "controller", "configurations").Create(ctx, owned, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := usersOf(made), [2]string{"alice", "bob"}; got != want {
		t.Errorf("creator and last modifier are %v, want %v", got, want)
	}
}

// TestUsersOfAnObjectThatIsOlderThanThePolicy has an object without the annotations.
func TestUsersOfAnObjectThatIsOlderThanThePolicy(t *testing.T) {
	config := kubeapi.Start(t)
	o := Defaults()
	o.Namespace, o.RecordUsers = "record-users", true
	objects := objectsOf(t, o)
	apply(t, config, objects)
	ctx := t.Context()
	alice, bob := as(t, config, "alice", "services"), as(t, config, "bob", "services")
	awaitPolicy(ctx, t, alice)
	old := object("Service", "old", nil)
	old.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "x", UID: "1"}}) // the policy passes it over
	made, err := alice.Create(ctx, old, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.SetOwnerReferences(nil)
	made.SetAnnotations(map[string]string{servingv1.CreatorAnnotation: "root"})
	if made, err = bob.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := usersOf(made), [2]string{"", ""}; got != want {
		t.Errorf("creator and last modifier are %v, want %v", got, want)
	}
}

// awaitPolicy waits until the API server has the policy: it reads policies and the kinds that they name from a cache.
func awaitPolicy(ctx context.Context, t *testing.T, services dynamic.ResourceInterface) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		made, err := services.Create(ctx, object("Service", "probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !apierrors.IsNotFound(err) { // the kind is new
			t.Fatal(err)
		}
		if err == nil && usersOf(made) == [2]string{"alice", "alice"} {
			return
		}
	}
	t.Fatal("the API server does not apply the policy")
}
