package convert

import (
	"fmt"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// FeatureProblems returns the fields of a Revision that need a feature which is not enabled. enabled says whether a key of config-features
// is; nil means that none is, as in Knative's own configuration.
func FeatureProblems(r *servingv1.Revision, enabled func(feature string) bool) []model.Problem {
	var problems []model.Problem
	for _, need := range r.Spec.Needs() {
		if enabled != nil && enabled(need.Feature) {
			continue
		}
		problems = append(problems, model.Problem{
			Owner: model.Ref{Kind: servingv1.KindRevision, Key: keyOf(r)}, Reason: "FeatureDisabled",
			Message: fmt.Sprintf("must not set the field(s): spec.%s: it needs the feature %s of config-features, which is not enabled",
				need.Field, need.Feature),
		})
	}
	return problems
}
