package convert

import (
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Conditions returns the conditions for a status that has before; one whose status did not change keeps the time of its
// last transition, the others have now.
func Conditions(before []servingv1.Condition, planned []model.Condition, now time.Time) []servingv1.Condition {
	out := make([]servingv1.Condition, 0, len(planned))
	for _, p := range planned {
		c := servingv1.Condition{
			Type: p.Type, Status: metav1.ConditionStatus(p.Status), Severity: servingv1.ConditionSeverity(p.Severity),
			Reason: p.Reason, Message: p.Message, LastTransitionTime: metav1.NewTime(now.UTC().Truncate(time.Second)),
		}
		old := servingv1.Status{Conditions: before}
		if b := old.Condition(p.Type); b != nil && b.Status == c.Status {
			c.LastTransitionTime = b.LastTransitionTime
		}
		out = append(out, c)
	}
	return out
}

// Traffic returns a split for a status.
func Traffic(split []model.Target) []servingv1.TrafficTarget {
	var out []servingv1.TrafficTarget
	for _, t := range split {
		out = append(out, servingv1.TrafficTarget{
			Tag: t.Tag, RevisionName: t.Revision, LatestRevision: new(t.Latest), Percent: new(int64(t.Percent)), URL: t.URL,
		})
	}
	return out
}

// WithRollout returns the annotations of a Route's status with the state of its rollouts in them.
func WithRollout(annotations map[string]string, state string) map[string]string {
	out := maps.Clone(annotations)
	if state == "" {
		return without(out, RolloutAnnotation)
	}
	return with(out, map[string]string{RolloutAnnotation: state})
}

// ContainerStatuses returns the images that a Revision's containers run, as kn reads them to pin a new revision to the
// same image. Nothing here asks a registry, so an image is named as the user named it.
func ContainerStatuses(r *servingv1.Revision) []servingv1.ContainerStatus {
	spec := effective(r)
	out := make([]servingv1.ContainerStatus, 0, len(spec.Containers))
	for _, c := range spec.Containers {
		out = append(out, servingv1.ContainerStatus{Name: c.Name, ImageDigest: c.Image})
	}
	return out
}

// RoutingLabels returns what of a Revision's labels and annotations says which Routes name it, for a merge patch: nil
// removes a key.
func RoutingLabels(state model.RoutingState, since time.Time, routes []string) (labels, annotations map[string]any) {
	labels = map[string]any{servingv1.RoutingStateLabel: string(state)}
	annotations = map[string]any{
		servingv1.RoutingStateModifiedAnnotation: since.UTC().Format(time.RFC3339),
		servingv1.RoutesAnnotation:               nil,
	}
	if len(routes) > 0 {
		annotations[servingv1.RoutesAnnotation] = strings.Join(routes, ",")
	}
	return labels, annotations
}
