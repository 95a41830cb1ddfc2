package convert

import (
	"fmt"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// ProcessProblems returns what a Revision needs and processes on one machine cannot have: the content of ConfigMaps and Secrets, and what
// only pods have. A cluster has it.
func ProcessProblems(r *servingv1.Revision) []model.Problem {
	spec := r.Effective()
	f := finder{owner: model.Ref{Kind: servingv1.KindRevision, Key: keyOf(r)}}
	for _, need := range spec.Needs() {
		f.problem("FieldUnavailable", "spec.%s is for pods: one machine runs processes", need.Field)
	}
	f.volumes(spec)
	for i := range spec.Containers {
		f.env(&spec.Containers[i])
	}
	return f.problems
}

// finder collects Problems.
type finder struct {
	owner    model.Ref
	problems []model.Problem
}

func (f *finder) problem(reason, format string, args ...any) {
	f.problems = append(f.problems, model.Problem{Owner: f.owner, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// volumes reports volumes whose content is in a ConfigMap or Secret.
func (f *finder) volumes(spec *servingv1.RevisionSpec) {
	for _, v := range spec.Volumes {
		optional := v.ConfigMap != nil && v.ConfigMap.Optional != nil && *v.ConfigMap.Optional ||
			v.Secret != nil && v.Secret.Optional != nil && *v.Secret.Optional
		if v.EmptyDir == nil && !optional {
			f.problem("VolumeUnavailable", "volume %q is in a ConfigMap or Secret, which one machine does not have: "+
				"want an emptyDir, or files that the process finds itself", v.Name)
		}
	}
}

// env reports variables whose values are in a ConfigMap or Secret.
func (f *finder) env(c *servingv1.Container) {
	for _, e := range c.Env {
		if e.ValueFrom != nil && !isOptional(e.ValueFrom) {
			f.problem("EnvUnavailable", "container %q: the value of %s is in a ConfigMap or Secret, "+
				"which one machine does not have: want a value", c.Name, e.Name)
		}
	}
	for _, from := range c.EnvFrom {
		optional := from.ConfigMapRef != nil && from.ConfigMapRef.Optional != nil && *from.ConfigMapRef.Optional ||
			from.SecretRef != nil && from.SecretRef.Optional != nil && *from.SecretRef.Optional
		if !optional {
			f.problem("EnvUnavailable",
				"container %q: envFrom names a ConfigMap or Secret, which one machine does not have: want env with values", c.Name)
		}
	}
}

func isOptional(from *servingv1.EnvVarSource) bool {
	return from.ConfigMapKeyRef != nil && from.ConfigMapKeyRef.Optional != nil && *from.ConfigMapKeyRef.Optional ||
		from.SecretKeyRef != nil && from.SecretKeyRef.Optional != nil && *from.SecretKeyRef.Optional
}
