package crds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// Object is a Service, Configuration, Revision or Route.
type Object interface {
	runtime.Object
	metav1.Object
}

// New returns an empty object of that kind, nil when there is no such kind.
func New(kind string) Object {
	switch kind {
	case servingv1.KindService:
		return &servingv1.Service{}
	case servingv1.KindConfiguration:
		return &servingv1.Configuration{}
	case servingv1.KindRevision:
		return &servingv1.Revision{}
	case servingv1.KindRoute:
		return &servingv1.Route{}
	}
	return nil
}

// Default sets the defaults of fields that the user left out of obj, in place, as Knative's webhook does. old is the stored
// object (of the same kind), nil when obj is new; Default sets its defaults too. user is who sends obj.
//
// Default replaces the annotations for creator and last modifier: users may not write them. Objects that have an owner
// get neither, since no user made them.
func Default(obj, old Object, user string) {
	spec := defaultSpec(obj)
	if _, ok := obj.(*servingv1.Revision); ok || len(obj.GetOwnerReferences()) > 0 {
		return
	}
	creator, modifier := user, user
	if old != nil {
		was := old.GetAnnotations()
		creator = was[servingv1.CreatorAnnotation]
		if apiequality.Semantic.DeepEqual(spec, defaultSpec(old)) {
			modifier = was[servingv1.LastModifierAnnotation]
		}
	}
	annotations := maps.Clone(obj.GetAnnotations())
	annotations = write(annotations, servingv1.CreatorAnnotation, creator)
	obj.SetAnnotations(write(annotations, servingv1.LastModifierAnnotation, modifier))
}

// write sets a key, or removes it where there is no value.
func write(annotations map[string]string, key, value string) map[string]string {
	if value == "" {
		delete(annotations, key)
		return annotations
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	return annotations
}

// defaultSpec fills in obj's spec and returns it.
func defaultSpec(obj Object) any {
	switch o := obj.(type) {
	case *servingv1.Service:
		o.Spec.SetDefaults()
		return &o.Spec
	case *servingv1.Configuration:
		o.Spec.SetDefaults()
		return &o.Spec
	case *servingv1.Revision:
		o.Spec.SetDefaults()
		return &o.Spec
	case *servingv1.Route:
		o.Spec.SetDefaults()
		return &o.Spec
	}
	return nil
}

// Validate returns the errors of obj that its schema cannot find: CEL does not see metadata.annotations, and the bounds of requests are
// configured, here as Knative has them by default. Where no admission runs, code that reads these must expect any value.
func Validate(obj Object) field.ErrorList {
	errs := checkBounds(obj)
	if _, ok := obj.(*servingv1.Revision); ok { // its autoscaling annotations are the template's
		return errs
	}
	path := field.NewPath("metadata", "annotations")
	annotations := obj.GetAnnotations()
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, servingv1.AutoscalingGroup+"/") || key == autoscalingv1alpha1.ScheduleAnnotation {
			errs = append(errs,
				field.Forbidden(path.Key(key), "autoscaling annotations must be put under spec.template.metadata.annotations"))
		}
	}
	for _, key := range []string{servingv1.RolloutDurationAnnotation, servingv1.RolloutDurationAltAnnotation} {
		if value, ok := annotations[key]; ok && value != "" {
			errs = append(errs, validateDuration(path.Key(key), value)...)
		}
	}
	for _, key := range []string{servingv1.HTTPOptionAnnotation, servingv1.HTTPProtocolAnnotation} {
		if value := strings.ToLower(annotations[key]); value != "" && value != "enabled" && value != "redirected" {
			errs = append(errs, field.NotSupported(path.Key(key), annotations[key], []string{"Enabled", "Redirected"}))
		}
	}
	return errs
}

// checkBounds checks the spec that obj gives to revisions.
func checkBounds(obj Object) field.ErrorList {
	path := field.NewPath("spec", "template", "spec")
	var spec *servingv1.RevisionSpec
	switch o := obj.(type) {
	case *servingv1.Service:
		spec = &o.Spec.Template.Spec
	case *servingv1.Configuration:
		spec = &o.Spec.Template.Spec
	case *servingv1.Revision:
		spec, path = &o.Spec, field.NewPath("spec")
	default:
		return nil
	}
	var errs field.ErrorList
	bounds := servingv1.KnativeDefaults().Bounds
	for _, wrong := range bounds.Check(spec) {
		errs = append(errs, field.Invalid(path.Child(wrong.Field), field.OmitValueType{}, wrong.Message))
	}
	return errs
}

// CheckScaling calls check with the autoscaling annotations that obj gives to revisions. It returns each line of check's
// error as an error of obj's field.
func CheckScaling(obj Object, check func(annotations map[string]string) error) field.ErrorList {
	var annotations map[string]string
	path := field.NewPath("spec", "template", "metadata", "annotations")
	switch o := obj.(type) {
	case *servingv1.Service:
		annotations = o.Spec.Template.Metadata.Annotations
	case *servingv1.Configuration:
		annotations = o.Spec.Template.Metadata.Annotations
	case *servingv1.Revision:
		annotations, path = o.Annotations, field.NewPath("metadata", "annotations")
	}
	err := check(annotations)
	if err == nil {
		return nil
	}
	var errs field.ErrorList
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, strings.TrimSpace(line)))
	}
	return errs
}

// validateDuration accepts a Go duration of whole seconds, 0 or more.
func validateDuration(path *field.Path, value string) field.ErrorList {
	d, err := time.ParseDuration(value)
	var wrong string
	switch {
	case err != nil:
		wrong = "must be a duration such as 90s"
	case d < 0:
		wrong = fmt.Sprintf("rollout-duration=%s must be positive", value)
	case d%time.Second != 0:
		wrong = fmt.Sprintf("rollout-duration=%s is not at second precision", value)
	default:
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, wrong)}
}
