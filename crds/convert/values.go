package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Service returns what planning needs of a Service.
func Service(s *servingv1.Service) *model.Service {
	return &model.Service{
		Key: keyOf(s), UID: string(s.UID), Generation: s.Generation, Observed: s.Status.ObservedGeneration,
		Conditions: conditionsOf(s.Status.Status),
	}
}

// Configuration returns what planning needs of a Configuration.
func Configuration(c *servingv1.Configuration) *model.Configuration {
	out := &model.Configuration{
		Key: keyOf(c), UID: string(c.UID), Owner: ownerOf(c), Service: c.Labels[servingv1.ServiceLabel],
		Generation: c.Generation, Observed: c.Status.ObservedGeneration,
		RevisionName:  c.Spec.Template.Metadata.Name,
		Protocol:      protocolOf(&c.Spec.Template.Spec),
		LatestCreated: c.Status.LatestCreatedRevisionName, LatestReady: c.Status.LatestReadyRevisionName,
		Conditions: conditionsOf(c.Status.Status),
	}
	if out.RevisionName != "" {
		out.Template = templateOf(&c.Spec.Template.Spec)
	}
	return out
}

// Revision returns what planning needs of a Revision.
func Revision(r *servingv1.Revision) *model.Revision {
	out := &model.Revision{
		Key: keyOf(r), UID: string(r.UID), Owner: ownerOf(r),
		Service: r.Labels[servingv1.ServiceLabel], Configuration: r.Labels[servingv1.ConfigurationLabel],
		Template: r.Annotations[servingv1.TemplateAnnotation], Created: r.CreationTimestamp.Time,
		Preserved:  strings.EqualFold(r.Annotations[servingv1.NoGCAnnotation], "true"),
		Routing:    model.RoutingState(r.Labels[servingv1.RoutingStateLabel]),
		Protocol:   protocolOf(&r.Spec),
		Conditions: conditionsOf(r.Status.Status),
	}
	if out.Template == "" {
		out.Template = fingerprint(&r.Spec)
	}
	out.Generation, _ = strconv.ParseInt(r.Labels[servingv1.ConfigurationGenerationLabel], 10, 64)
	out.RoutingSince, _ = time.Parse(time.RFC3339, r.Annotations[servingv1.RoutingStateModifiedAnnotation])
	if routes := r.Annotations[servingv1.RoutesAnnotation]; routes != "" {
		out.Routes = strings.Split(routes, ",")
	}
	out.ProgressDeadline, _ = duration(r.Annotations, servingv1.ProgressDeadlineAnnotation)
	out.Ready = model.FindCondition(out.Conditions, model.Ready)
	if r.Status.ObservedGeneration != r.Generation {
		out.Ready = model.Condition{Type: model.Ready, Status: model.Unknown}
	}
	// Neither is True before a revision has been ready; afterwards at least one is: see rollout.Revision.
	out.WasReady = model.FindCondition(out.Conditions, model.ResourcesAvailable).Status == model.True ||
		model.FindCondition(out.Conditions, model.ContainerHealthy).Status == model.True
	return out
}

// Route returns what planning needs of a Route.
func Route(r *servingv1.Route) *model.RouteSpec {
	out := &model.RouteSpec{
		Key: keyOf(r), UID: string(r.UID), Owner: ownerOf(r), Service: r.Labels[servingv1.ServiceLabel],
		Generation: r.Generation, Observed: r.Status.ObservedGeneration, Created: r.CreationTimestamp.Time,
		Traffic: targets(r.Spec.Traffic), Served: targets(r.Status.Traffic),
		Labels: r.Labels, Annotations: r.Annotations,
		ClusterLocal: r.Labels[servingv1.VisibilityLabel] == servingv1.VisibilityClusterLocal,
		URL:          r.Status.URL, Rollout: r.Status.Annotations[RolloutAnnotation],
		Conditions: conditionsOf(r.Status.Status),
	}
	if r.Status.Address != nil {
		out.Address = r.Status.Address.URL
	}
	out.HTTP, _ = httpOption(r.Annotations)
	out.RolloutDuration, _ = duration(r.Annotations, servingv1.RolloutDurationAnnotation, servingv1.RolloutDurationAltAnnotation)
	return out
}

func targets(traffic []servingv1.TrafficTarget) []model.Target {
	out := make([]model.Target, 0, len(traffic))
	for _, t := range traffic {
		target := model.Target{
			Tag: t.Tag, Revision: t.RevisionName, Configuration: t.ConfigurationName, Latest: t.RevisionName == "", URL: t.URL,
		}
		if t.LatestRevision != nil {
			target.Latest = *t.LatestRevision
		}
		if t.Percent != nil {
			target.Percent = int(*t.Percent)
		}
		out = append(out, target)
	}
	return out
}

func conditionsOf(s servingv1.Status) []model.Condition {
	out := make([]model.Condition, 0, len(s.Conditions))
	for _, c := range s.Conditions {
		out = append(out, model.Condition{
			Type: c.Type, Status: model.Status(c.Status), Reason: c.Reason, Message: c.Message, Severity: model.Severity(c.Severity),
		})
	}
	return out
}

// templateOf identifies a template. A field that says what Knative does by default is the same as one that says nothing, whatever defaults
// are configured.
func templateOf(spec *servingv1.RevisionSpec) string {
	spec = spec.DeepCopy()
	spec.SetDefaults()
	return fingerprint(spec)
}

// fingerprint identifies a revision's spec: two specs have the same one if and only if they are the same.
func fingerprint(spec *servingv1.RevisionSpec) string {
	b, err := json.Marshal(spec)
	if err != nil { // cannot be: the spec was read from JSON
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func keyOf(o metav1.Object) model.Key {
	return model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func ownerOf(o metav1.Object) string {
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		return string(owner.UID)
	}
	return ""
}
