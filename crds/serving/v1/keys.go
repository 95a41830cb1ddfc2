package servingv1

// Labels that tools select by.
const (
	// ConfigurationLabel on a Revision names its Configuration.
	ConfigurationLabel = Group + "/configuration"
	// ConfigurationGenerationLabel on a Revision is the generation of the Configuration that it was made from, in decimal.
	ConfigurationGenerationLabel = Group + "/configurationGeneration"
	// ConfigurationUIDLabel on a Revision is the UID of its Configuration.
	ConfigurationUIDLabel = Group + "/configurationUID"
	// ServiceLabel on a Configuration, Route or Revision names the Service that it belongs to.
	ServiceLabel = Group + "/service"
	// ServiceUIDLabel is the UID of that Service.
	ServiceUIDLabel = Group + "/serviceUID"
	// RouteLabel on an object that a Route makes names the Route.
	RouteLabel = Group + "/route"
	// RevisionLabel on an object that a Revision makes (pod, deployment) names the Revision.
	RevisionLabel = Group + "/revision"
	// RevisionUIDLabel is the UID of that Revision.
	RevisionUIDLabel = Group + "/revisionUID"
	// RoutingStateLabel on a Revision is one of the routing states.
	RoutingStateLabel = Group + "/routingState"
	// VisibilityLabel on a Service or Route, with VisibilityClusterLocal, keeps it off the external listeners.
	VisibilityLabel = "networking.knative.dev/visibility"
	// VisibilityClusterLocal is the one value of VisibilityLabel.
	VisibilityClusterLocal = "cluster-local"
)

// The values of RoutingStateLabel.
const (
	// RoutingStatePending is a Revision that no Route has named yet.
	RoutingStatePending = "pending"
	// RoutingStateActive is a Revision that a Route names.
	RoutingStateActive = "active"
	// RoutingStateReserve is a Revision that no Route names any more.
	RoutingStateReserve = "reserve"
)

// Annotations of Services, Configurations, Routes and Revisions.
const (
	// CreatorAnnotation is the user who created the object.
	CreatorAnnotation = Group + "/creator"
	// LastModifierAnnotation is the user who last changed its spec.
	LastModifierAnnotation = Group + "/lastModifier"
	// RoutesAnnotation on a Revision or Configuration are the names of the Routes that name it, sorted, separated by commas.
	RoutesAnnotation = Group + "/routes"
	// RoutingStateModifiedAnnotation on a Revision is when its routing state last changed (RFC 3339).
	RoutingStateModifiedAnnotation = Group + "/routingStateModified"
	// NoGCAnnotation on a Revision, with "true", exempts it from garbage collection.
	NoGCAnnotation = Group + "/no-gc"
	// RolloutDurationAnnotation on a Service or Route is how long a new revision takes to get all of its traffic:
	// a Go duration of whole seconds; 0 or none is at once.
	RolloutDurationAnnotation = Group + "/rollout-duration"
	// RolloutDurationAltAnnotation is another spelling of RolloutDurationAnnotation, which wins.
	RolloutDurationAltAnnotation = Group + "/rolloutDuration"
	// ProgressDeadlineAnnotation on a template is how long a revision may take to become ready: a Go duration of whole seconds.
	ProgressDeadlineAnnotation = Group + "/progress-deadline"
	// LastAppliedAnnotation is kubectl's; it is never copied to owned objects.
	LastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"
)

// The annotations of a Route or DomainMapping that say what becomes of external requests without TLS: "Enabled" serves them and
// "Redirected" answers with a redirect to HTTPS, in upper or lower case. The first one that is set counts.
const (
	HTTPOptionAnnotation   = "networking.knative.dev/httpOption"
	HTTPProtocolAnnotation = "networking.knative.dev/http-protocol"
)

// RouteAnnotations are those annotations of a Service that concern its Route alone: its Configuration does not get them.
var RouteAnnotations = []string{RolloutDurationAnnotation, RolloutDurationAltAnnotation}

// AutoscalingGroup is the prefix of all autoscaling annotations; they belong on the revision template.
const AutoscalingGroup = "autoscaling.knative.dev"

// Annotations of revision templates that Knative does not have.
const (
	// MetricsSourceAnnotation is who reports the load of the replicas: "queue-proxy", the default, or "envoy", with which
	// the replicas have no queue-proxy.
	MetricsSourceAnnotation = "sluice.dev/metrics-source"
	// StreamDrainAnnotation is how long streams (upgraded connections, gRPC) may go on after no Route names their revision
	// any more, or after their replica begins to drain: whole seconds from 0 to 3600. The default is timeoutSeconds.
	StreamDrainAnnotation = "sluice.dev/stream-drain-seconds"
)

// ScaleWhyAnnotation in a Revision's status is the reason for its last scale step, a sentence.
const ScaleWhyAnnotation = "sluice.dev/scale-why"

// ScaleSignalsAnnotation in a Revision's status is what the load and each signal beside it asked for in its last scale step, a line each.
const ScaleSignalsAnnotation = "sluice.dev/scale-signals"

// TemplateAnnotation on a Revision identifies the template that it was made from, where configured defaults have changed its spec.
const TemplateAnnotation = "sluice.dev/template"
