package config

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/rollout"
)

// DomainName is the ConfigMap of the domains of external hosts. Its keys are domains.
const DomainName = "config-domain"

// Domain is config-domain.
type Domain struct {
	// Default is the domain of Routes that no selector is for. It is empty when every domain has a selector: such Routes are cluster-local.
	Default string
	// Selected are the domains with selectors, sorted by name.
	Selected []rollout.Domain
}

// domainValue is what a key of config-domain has: YAML, or nothing.
type domainValue struct {
	Selector map[string]string `json:"selector"`
	// Type is Knative's, for certificates of a whole namespace.
	Type string `json:"type"`
}

func readDomain(s *Settings, k *keys) {
	var d Domain
	for key := range k.data {
		if key == exampleKey {
			continue
		}
		var v domainValue
		read(k, key, &v, "nothing, or a selector as YAML, such as {selector: {app: shop}}", func(text string) (v domainValue, ok bool) {
			return v, yaml.UnmarshalStrict([]byte(text), &v) == nil && v.valid()
		})
		switch {
		case len(validation.IsDNS1123Subdomain(key)) > 0:
			k.wrongKey(key, "a domain of lower-case letters, digits, dashes and dots")
		case len(v.Selector) > 0:
			d.Selected = append(d.Selected, rollout.Domain{Name: key, Selector: v.Selector})
		case d.Default == "" || key < d.Default: // of several the first by the alphabet counts, as in Knative
			d.Default = key
		}
	}
	slices.SortFunc(d.Selected, func(a, b rollout.Domain) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	s.Domain = d
}

func (v domainValue) valid() bool {
	for name, value := range v.Selector {
		if len(validation.IsQualifiedName(name)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return false
		}
	}
	return true
}
