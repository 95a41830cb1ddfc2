package crds

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
)

// The embedded API server stores the definitions without a check. So this test applies an API server's rules to them:
// structural schemas, CEL that compiles, and its cost budget.
func TestDefinitionsAreValid(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := apiextensions.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	definitions, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	if len(definitions) != 9 {
		t.Errorf("got %d definitions, want 9", len(definitions))
	}
	for _, d := range definitions {
		scheme.Default(d)
		d.Status.StoredVersions = []string{d.Spec.Versions[0].Name}
		internal := &apiextensions.CustomResourceDefinition{}
		if err := scheme.Convert(d, internal, nil); err != nil {
			t.Fatalf("%s: %v", d.Name, err)
		}
		for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), internal) {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

// Columns, short names and categories are those of Knative Serving v0.50.0, which people and scripts know.
func TestDefinitionsPrintAsKnativeDoes(t *testing.T) {
	const ready = ".status.conditions[?(@.type=='Ready')]"
	status := []string{"Ready string " + ready + ".status", "Reason string " + ready + ".reason"}
	url := "URL string .status.url"
	latest := []string{"LatestCreated string .status.latestCreatedRevisionName", "LatestReady string .status.latestReadyRevisionName"}
	for kind, want := range map[string]struct{ columns, short []string }{
		"Service":       {slices.Concat([]string{url}, latest, status), []string{"kservice", "ksvc"}},
		"Route":         {slices.Concat([]string{url}, status), []string{"rt"}},
		"Configuration": {slices.Concat(latest, status), []string{"config", "cfg"}},
		"DomainMapping": {slices.Concat([]string{url}, status), []string{"dm"}},
		"Revision": {slices.Concat([]string{
			`Config Name string .metadata.labels['serving\.knative\.dev/configuration']`,
			`Generation string .metadata.labels['serving\.knative\.dev/configurationGeneration']`,
		}, status, []string{"Actual Replicas integer .status.actualReplicas",
			"Desired Replicas integer .status.desiredReplicas"}), []string{"rev"}},
	} {
		definitions, err := Definitions()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(definitions, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Names.Kind == kind })
		if i < 0 {
			t.Errorf("there is no %s", kind)
			continue
		}
		spec := definitions[i].Spec
		var columns []string
		for _, c := range spec.Versions[0].AdditionalPrinterColumns {
			columns = append(columns, c.Name+" "+c.Type+" "+c.JSONPath)
		}
		if diff := cmp.Diff(want.columns, columns); diff != "" {
			t.Errorf("columns of %s (-Knative +ours):\n%s", kind, diff)
		}
		if !slices.Equal(spec.Names.ShortNames, want.short) || !slices.Equal(spec.Names.Categories, []string{"all", "knative", "serving"}) {
			t.Errorf("%s has the short names %q and categories %q", kind, spec.Names.ShortNames, spec.Names.Categories)
		}
	}
}
