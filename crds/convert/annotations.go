package convert

import (
	"fmt"
	"strconv"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// RolloutAnnotation in a Route's status keeps the state of its gradual rollouts: Knative's name for it, in the status,
// where it is written at once with the split that it belongs to.
const RolloutAnnotation = "networking.internal.knative.dev/rollout"

// RouteProblems are the annotations of a Route that cannot be read; they count as absent.
func RouteProblems(r *servingv1.Route) []model.Problem {
	_, err := duration(r.Annotations, servingv1.RolloutDurationAnnotation, servingv1.RolloutDurationAltAnnotation)
	return annotationProblems(model.Ref{Kind: servingv1.KindRoute, Key: keyOf(r)}, err)
}

// RevisionProblems are the annotations of a Revision that cannot be read or contradict each other; they count as absent.
func RevisionProblems(r *servingv1.Revision) []model.Problem {
	_, deadline := duration(r.Annotations, servingv1.ProgressDeadlineAnnotation)
	_, scale := scaleOf(r)
	return annotationProblems(model.Ref{Kind: servingv1.KindRevision, Key: keyOf(r)}, append(scale, deadline)...)
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

// annotation returns the value of the first of the names that is there, and that name.
func annotation(annotations map[string]string, names ...string) (name, value string) {
	for _, name := range names {
		if v, ok := annotations[name]; ok && v != "" {
			return name, v
		}
	}
	return "", ""
}

// duration reads a Go duration of whole seconds that is not negative; 0 when there is none or it is not one.
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

// scale are the bounds of a revision's replicas; 0 where nothing is said.
type scale struct{ least, most, initial int }

func scaleOf(r *servingv1.Revision) (s scale, errs []error) {
	for _, field := range []struct {
		value *int
		names []string
	}{
		{&s.least, []string{servingv1.MinScaleAnnotation, servingv1.MinScaleAltAnnotation}},
		{&s.most, []string{servingv1.MaxScaleAnnotation, servingv1.MaxScaleAltAnnotation}},
		{&s.initial, []string{servingv1.InitialScaleAnnotation, servingv1.InitialScaleAltAnnotation}},
	} {
		name, value := annotation(r.Annotations, field.names...)
		if value == "" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("annotation %s is %q, want a whole number that is not negative", name, value))
			continue
		}
		*field.value = int(n)
	}
	if s.most > 0 && s.least > s.most {
		errs = append(errs, fmt.Errorf("annotation %s is %d, want at most %s, which is %d",
			servingv1.MinScaleAnnotation, s.least, servingv1.MaxScaleAnnotation, s.most))
	}
	return s, errs
}

// replicas is how many replicas a revision has: its least, and before it has been ready its initial ones, but no fewer
// than 1 and no more than its most. A revision that no Route names any more does without its least, as in Knative.
func replicas(r *servingv1.Revision) int {
	s, _ := scaleOf(r)
	v := Revision(r)
	n := 1
	if v.Routing != model.RoutingReserve {
		n = max(n, s.least)
		if !v.WasReady {
			n = max(n, s.initial)
		}
	}
	if s.most > 0 {
		n = min(n, s.most)
	}
	return n
}
