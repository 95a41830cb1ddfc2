package charts

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// TestHelmInstallsUpgradesAndUninstalls has Helm's own library do to a real API server what `helm install`, `upgrade` and `uninstall` do.
// The server validates each object, and there are no controllers, so no pod runs.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	server := kubeapi.Start(t)
	flags := genericclioptions.NewConfigFlags(false).WithWrapConfigFn(func(*rest.Config) *rest.Config { return server })
	helm := &action.Configuration{}
	if err := helm.Init(flags, "default", "secret", t.Logf); err != nil {
		t.Fatal(err)
	}
	chart, err := loader.Load(deploy + "/helm/sluice")
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(helm)
	install.ReleaseName, install.Namespace = "sluice", "default"
	release, err := install.RunWithContext(t.Context(), chart, map[string]any{})
	if err != nil {
		t.Fatal("helm install: ", err)
	}
	reader, err := client.New(server, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, text := range strings.Split(release.Manifest, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == "" {
			continue
		}
		if o.GetKind() == "CustomResourceDefinition" {
			kinds++
		}
		if err := reader.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Errorf("%s %s is not there: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if kinds == 0 {
		t.Error("the chart has installed no CustomResourceDefinition")
	}

	upgrade := action.NewUpgrade(helm)
	upgrade.Namespace = "default"
	values := map[string]any{"replicas": map[string]any{"gateway": 5}}
	if _, err := upgrade.RunWithContext(t.Context(), "sluice", chart, values); err != nil {
		t.Fatal("helm upgrade: ", err)
	}
	gateway := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment"}}
	if err := reader.Get(t.Context(), client.ObjectKey{Namespace: "sluice-system", Name: "gateway"}, gateway); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(gateway.Object, "spec", "replicas"); n != 5 {
		t.Errorf("after the upgrade the gateway has %d replicas, want 5", n)
	}

	if _, err := action.NewUninstall(helm).Run("sluice"); err != nil {
		t.Fatal("helm uninstall: ", err)
	}
	if err := reader.Get(t.Context(), client.ObjectKeyFromObject(gateway), gateway); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	} else if err == nil && gateway.GetDeletionTimestamp() == nil {
		t.Error("the gateway is still there after helm uninstall")
	}
	services := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "serving.knative.dev/v1", "kind": "ServiceList"}}
	if err := reader.List(t.Context(), services); err != nil { // keepCRDs is true by default
		t.Error("the kind Service has gone with the release, and with it all Services: ", err)
	}
}
