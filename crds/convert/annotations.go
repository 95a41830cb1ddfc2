package convert

import (
	"fmt"
	"strings"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// RolloutAnnotation in a Route's status keeps the state of its gradual rollouts. Knative has an annotation of this name in
// the metadata; here it is in the status, so that one write changes it together with the split that it belongs to.
const RolloutAnnotation = "networking.internal.knative.dev/rollout"

// RouteProblems are the annotations of a Route that cannot be read; they count as absent.
func RouteProblems(r *servingv1.Route) []model.Problem {
	_, gradual := duration(r.Annotations, servingv1.RolloutDurationAnnotation, servingv1.RolloutDurationAltAnnotation)
	_, http := httpOption(r.Annotations)
	return annotationProblems(model.Ref{Kind: servingv1.KindRoute, Key: keyOf(r)}, gradual, http)
}

// RevisionProblems are the annotations of a Revision that cannot be read; they count as absent. The autoscaler checks those of
// autoscaling.knative.dev.
func RevisionProblems(r *servingv1.Revision) []model.Problem {
	_, deadline := duration(r.Annotations, servingv1.ProgressDeadlineAnnotation)
	_, source := metricsSource(r.Annotations)
	_, drain := streamDrain(r)
	return annotationProblems(model.Ref{Kind: servingv1.KindRevision, Key: keyOf(r)}, deadline, source, drain)
}

func annotationProblems(owner model.Ref, errs ...error) []model.Problem {
	var out []model.Problem
	for _, err := range errs {
		if err != nil {
			out = append(out, model.Problem{Owner: owner, Reason: "InvalidAnnotation", Message: err.Error()})
		}
	}
	return out
}

// annotation returns the value of the first of the names that has one, and that name.
func annotation(annotations map[string]string, names ...string) (name, value string) {
	for _, name := range names {
		if v, ok := annotations[name]; ok && v != "" {
			return name, v
		}
	}
	return "", ""
}

// duration reads a Go duration of whole seconds that is not negative. It returns 0 if there is none, and with an error.
func duration(annotations map[string]string, names ...string) (time.Duration, error) {
	name, value := annotation(annotations, names...)
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d%time.Second != 0 {
		return 0, fmt.Errorf("annotation %s is %q, want a duration of whole seconds that is not negative, such as 90s", name, value)
	}
	return d, nil
}

// httpOption reads what becomes of external requests without TLS. It returns nil if there is no annotation, and with an error.
func httpOption(annotations map[string]string) (*model.HTTPOption, error) {
	name, value := annotation(annotations, servingv1.HTTPOptionAnnotation, servingv1.HTTPProtocolAnnotation)
	switch strings.ToLower(value) {
	case "":
		return nil, nil
	case "enabled":
		return new(model.HTTPOption("")), nil
	case "redirected":
		return new(model.HTTPRedirected), nil
	}
	return nil, fmt.Errorf("annotation %s is %q, want Enabled or Redirected", name, value)
}
