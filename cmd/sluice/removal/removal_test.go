package removal

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/cmd/sluice/install"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

func newServer(t *testing.T) *rest.Config {
	t.Helper()
	config := kubeapi.Start(t)
	config.QPS = -1
	return config
}

func find(t *testing.T, config *rest.Config, namespace string) []Item {
	t.Helper()
	of, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	items, err := Find(t.Context(), of, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func setUp(t *testing.T, config *rest.Config, o install.Options) {
	t.Helper()
	to, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := install.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GetObjectKind().GroupVersionKind())
		var of dynamic.ResourceInterface = to.Resource(resource)
		if object.GetNamespace() != "" {
			of = to.Resource(resource).Namespace(object.GetNamespace())
		}
		if _, err := of.Create(t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// addService makes a Service of the API with all that becomes of one, and objects of others beside it.
func addService(t *testing.T, config *rest.Config) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{servingv1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	create := func(o client.Object) client.Object {
		t.Helper()
		o.SetNamespace("default")
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	containers := servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{Image: "example.org/hello"}}}}
	template := servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplate{Spec: containers}}
	create(&servingv1.Service{ObjectMeta: named("hello"), Spec: servingv1.ServiceSpec{ConfigurationSpec: template}})
	create(&servingv1.Configuration{ObjectMeta: named("hello"), Spec: template})
	route := create(&servingv1.Route{ObjectMeta: named("hello"), Spec: servingv1.RouteSpec{
		Traffic: []servingv1.TrafficTarget{{ConfigurationName: "hello", Percent: new(int64(100))}},
	}})
	revision := create(&servingv1.Revision{ObjectMeta: named("hello-00001"), Spec: containers})
	by := func(owner client.Object, kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Name: name, Labels: map[string]string{ofRevisions: "1"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, servingv1.GroupVersion.WithKind(kind))},
		}
	}
	spec := appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.org/hello"}}},
		},
	}
	create(&appsv1.Deployment{ObjectMeta: by(revision, "Revision", "hello-00001-deployment"), Spec: spec})
	create(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "of-a-user", Labels: map[string]string{ofRevisions: "1"}}, Spec: spec})
	ports := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}
	create(&corev1.Service{ObjectMeta: by(route, "Route", "hello"), Spec: ports})
	create(&corev1.Service{ObjectMeta: named("of-a-user"), Spec: ports})
}

func TestAllOfSluiceIsFoundAndNothingElse(t *testing.T) {
	config := newServer(t)
	if items := find(t, config, "sluice-system"); len(items) > 0 {
		t.Fatalf("a cluster without Sluice has %v", items)
	}
	setUp(t, config, install.Defaults())
	addService(t, config)
	items := find(t, config, "sluice-system")
	var got []string
	for _, i := range items {
		got = append(got, strings.Join([]string{i.APIVersion, i.Kind, i.Namespace, i.Name}, " "))
	}
	serving := "serving.knative.dev/v1 "
	definition := "apiextensions.k8s.io/v1 CustomResourceDefinition  "
	want := []string{
		"rbac.authorization.k8s.io/v1 ClusterRoleBinding  sluice-controller",
		serving + "Service default hello", serving + "Route default hello", serving + "Configuration default hello",
		serving + "Revision default hello-00001", "apps/v1 Deployment default hello-00001-deployment", "v1 Service default hello",
		definition + "configurations.serving.knative.dev", definition + "revisions.serving.knative.dev",
		definition + "routes.serving.knative.dev", definition + "services.serving.knative.dev",
		"rbac.authorization.k8s.io/v1 ClusterRole  sluice-controller", "rbac.authorization.k8s.io/v1 ClusterRole  sluice-namespaced-admin",
		"rbac.authorization.k8s.io/v1 ClusterRole  sluice-namespaced-edit",
		"rbac.authorization.k8s.io/v1 ClusterRole  sluice-namespaced-view",
		"v1 Namespace  sluice-system",
	}
	// Kinds that are added later are found too, and stand between these.
	at := 0
	for _, w := range want {
		i := slices.Index(got[at:], w)
		if i < 0 {
			t.Fatalf("%q is not found, or in the wrong place:\n%s", w, strings.Join(got, "\n"))
		}
		at += i + 1
	}
	if at != len(got) || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "of-a-user") }) {
		t.Errorf("objects of others are found, or something comes after the namespace:\n%s", strings.Join(got, "\n"))
	}
	text, err := YAML(items)
	if err != nil || !strings.Contains(string(text), " objects. Among them are 1 Services of users") {
		t.Errorf("the error is %v, and the text is\n%s", err, text)
	}
	t.Run("a namespace that was there before stays", func(t *testing.T) { namespaceStays(t, config) })
}

func namespaceStays(t *testing.T, config *rest.Config) {
	of, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	spaces := of.Resource(resource("", "v1", "namespaces"))
	patch := []byte(`{"metadata":{"labels":{"` + install.PartOf + `":null}}}`)
	if _, err := spaces.Patch(t.Context(), "sluice-system", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	items := find(t, config, "sluice-system")
	objects, err := install.Objects(install.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		kind := o.GetObjectKind().GroupVersionKind()
		found := slices.Contains(items, Item{kind.GroupVersion().String(), kind.Kind, o.GetNamespace(), o.GetName()})
		if found == (kind.Kind == "Namespace") {
			t.Errorf("%s %s: whether it is to be deleted is %v", kind.Kind, o.GetName(), found)
		}
	}
}
