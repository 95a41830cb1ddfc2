package convert

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Conditions returns the planned conditions for a status whose conditions are before. A condition whose status does not change
// keeps its last transition time; the others get now.
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

// Traffic converts a split for a status.
func Traffic(split []model.Target) []servingv1.TrafficTarget {
	var out []servingv1.TrafficTarget
	for _, t := range split {
		out = append(out, servingv1.TrafficTarget{
			Tag: t.Tag, RevisionName: t.Revision, LatestRevision: new(t.Latest), Percent: new(int64(t.Percent)), URL: t.URL,
		})
	}
	return out
}

// WithRollout returns a copy of the annotations of a Route's status with the state of its rollouts.
func WithRollout(annotations map[string]string, state string) map[string]string {
	out := maps.Clone(annotations)
	if state == "" {
		return without(out, RolloutAnnotation)
	}
	return with(out, map[string]string{RolloutAnnotation: state})
}

// SetImages writes into the status of a Revision which images its containers and init containers run: those of images, by container, and
// for others the name that the user gave. kn reads them to give a new revision the same image.
func SetImages(r *servingv1.Revision, images map[string]string) {
	status := func(name, image string) servingv1.ContainerStatus {
		return servingv1.ContainerStatus{Name: name, ImageDigest: cmp.Or(images[name], image)}
	}
	r.Status.ContainerStatuses, r.Status.InitContainerStatuses = nil, nil
	for _, c := range r.Effective().Containers {
		r.Status.ContainerStatuses = append(r.Status.ContainerStatuses, status(c.Name, c.Image))
	}
	for _, c := range r.Spec.InitContainers {
		r.Status.InitContainerStatuses = append(r.Status.InitContainerStatuses, status(c.Name, c.Image))
	}
}

// Resolved says whether the status of a Revision says which image each of its containers runs.
func Resolved(r *servingv1.Revision) bool {
	return len(r.Status.ContainerStatuses) == len(r.Spec.Containers) && len(r.Status.InitContainerStatuses) == len(r.Spec.InitContainers)
}

// ResolvedImages returns the images that the status of a Revision names, by container. Knative leaves out those whose tags it does not
// resolve.
func ResolvedImages(r *servingv1.Revision) map[string]string {
	images := map[string]string{}
	for _, c := range slices.Concat(r.Status.ContainerStatuses, r.Status.InitContainerStatuses) {
		if c.ImageDigest != "" {
			images[c.Name] = c.ImageDigest
		}
	}
	return images
}

// RoutingLabels returns the labels and annotations of a Revision that say which Routes name it, for a merge patch: nil
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
