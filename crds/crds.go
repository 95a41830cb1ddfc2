// Package crds defines the API: the CustomResourceDefinitions of all kinds, generated from the Go types in serving/v1
// and embedded in the binary. It also does what Knative's admission webhook does: defaults, and the few rules that a schema
// cannot express.
//
// It has pure functions over values. It must not know clients, the model, or how anything runs.
package crds

import (
	"embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed yaml/*.yaml
var files embed.FS

// Definitions returns the CustomResourceDefinitions of all kinds, sorted by name. The caller may change them.
func Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	entries, err := files.ReadDir("yaml")
	if err != nil {
		return nil, fmt.Errorf("reading embedded CRDs: %w", err)
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, e := range entries {
		data, err := files.ReadFile("yaml/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading embedded CRD %s: %w", e.Name(), err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			return nil, fmt.Errorf("parsing embedded CRD %s: %w", e.Name(), err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
}
