package crds

import (
	"testing"

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
	if len(definitions) != 6 {
		t.Errorf("got %d definitions, want 6", len(definitions))
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
