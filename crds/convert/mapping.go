package convert

import (
	"cmp"
	"strings"

	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/model"
)

// Mapping returns what planning needs of a DomainMapping.
func Mapping(m *servingv1beta1.DomainMapping) *model.Mapping {
	ref := m.Spec.Ref
	out := &model.Mapping{
		Key: keyOf(m), UID: string(m.UID), Created: m.CreationTimestamp.Time,
		Generation: m.Generation, Observed: m.Status.ObservedGeneration,
		Target: model.Ref{Kind: ref.Kind, Key: model.Key{Namespace: cmp.Or(ref.Namespace, m.Namespace), Name: ref.Name}}, Group: ref.Group,
		Conditions: conditionsOf(m.Status.Status),
	}
	if group, _, versioned := strings.Cut(ref.APIVersion, "/"); out.Group == "" && versioned {
		out.Group = group
	}
	if m.Spec.TLS != nil {
		out.Secret = m.Spec.TLS.SecretName
	}
	out.HTTP, _ = httpOption(m.Annotations)
	return out
}

// MappingProblems are the annotations of a DomainMapping that cannot be read; they count as absent.
func MappingProblems(m *servingv1beta1.DomainMapping) []model.Problem {
	_, err := httpOption(m.Annotations)
	return annotationProblems(model.Ref{Kind: servingv1beta1.KindDomainMapping, Key: keyOf(m)}, err)
}
