package install

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// Mutating admission policies are part of Kubernetes since 1.36.
const (
	admissionVersion = "admissionregistration.k8s.io/v1"
	usersPolicy      = "sluice-record-users"
)

// CEL of the policy. An object that others own was made by no user: its owner has the annotations, and controllers copy them. Users
// may not write the annotations, so the policy puts back what was there, or removes them.
const (
	notOwned = `object.metadata.?ownerReferences.orValue([]).size() == 0`
	before   = `oldObject == null ? {} : oldObject.metadata.?annotations.orValue({})`
	creator  = `oldObject == null ? request.userInfo.username : variables.before[?'` + servingv1.CreatorAnnotation + `'].orValue('')`
	modifier = `oldObject == null || object.?spec != oldObject.?spec ? request.userInfo.username : ` +
		`variables.before[?'` + servingv1.LastModifierAnnotation + `'].orValue('')`
	now = `object.metadata.?annotations.orValue({})`

	noAnnotations = `!has(object.metadata.annotations) ? [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}] : []`
	// KEY stands for an annotation, and VALUE for the variable with its value.
	path       = `'/metadata/annotations/' + jsonpatch.escapeKey('KEY')`
	annotation = `variables.VALUE != '' ? [JSONPatch{op: 'add', path: ` + path + `, value: variables.VALUE}] : ` +
		`'KEY' in variables.now ? [JSONPatch{op: 'remove', path: ` + path + `}] : []`
)

// users has the API server write into objects who created them and who last changed their spec, as Knative's webhook does. No request
// fails because of it.
func (o Options) users() []Object {
	if !o.RecordUsers {
		return nil
	}
	meta := metav1.ObjectMeta{Name: usersPolicy, Labels: map[string]string{PartOf: product}}
	write := func(key, value string) string {
		return strings.NewReplacer("KEY", key, "VALUE", value).Replace(annotation)
	}
	patch := fmt.Sprintf("(%s) +\n(%s) +\n(%s)", noAnnotations,
		write(servingv1.CreatorAnnotation, "creator"), write(servingv1.LastModifierAnnotation, "modifier"))
	return []Object{
		&admissionv1.MutatingAdmissionPolicy{
			TypeMeta: typeMeta(admissionVersion, "MutatingAdmissionPolicy"), ObjectMeta: meta,
			Spec: admissionv1.MutatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionv1.RuleWithOperations{
						Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
						Rule: admissionv1.Rule{
							APIGroups: []string{servingGroup}, APIVersions: []string{"*"},
							Resources: []string{"services", "configurations", "routes", "domainmappings"},
						},
					},
				}}},
				MatchConditions: []admissionv1.MatchCondition{{Name: "made-by-a-user", Expression: notOwned}},
				Variables: []admissionv1.Variable{
					{Name: "before", Expression: before}, {Name: "now", Expression: now},
					{Name: "creator", Expression: creator}, {Name: "modifier", Expression: modifier},
				},
				Mutations: []admissionv1.Mutation{{
					PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: patch},
				}},
				FailurePolicy:      new(admissionv1.Ignore),
				ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			},
		},
		&admissionv1.MutatingAdmissionPolicyBinding{
			TypeMeta: typeMeta(admissionVersion, "MutatingAdmissionPolicyBinding"), ObjectMeta: meta,
			Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: usersPolicy},
		},
	}
}
