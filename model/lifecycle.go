package model

import "time"

// Service is the part of a Service of the API that its revisions depend on.
type Service struct {
	Key Key
	UID string
	// Generation counts the changes of the spec; Observed is the one that the status speaks of.
	Generation, Observed int64
	// Conditions are those of the status.
	Conditions []Condition
}

// Configuration is a Configuration of the API with what its status says.
type Configuration struct {
	Key Key
	UID string
	// Owner is the UID of the object that controls it; empty when nothing does.
	Owner string
	// Service is the name of the Service that it belongs to; empty for a Configuration of its own.
	Service string
	// Generation counts the changes of the spec; Observed is the one that the status speaks of.
	Generation, Observed int64
	// RevisionName is the name that the template asks for; empty means that one is generated.
	RevisionName string
	// Template is the fingerprint of the spec that a revision of this template has, comparable with Revision.Template.
	Template string
	// Protocol is what the serving container of the template speaks.
	Protocol Protocol
	// LatestCreated and LatestReady are names of revisions, from the status; empty when there was none yet.
	LatestCreated, LatestReady string
	// Conditions are those of the status.
	Conditions []Condition
}

// Revision is a Revision of the API with what its status says.
type Revision struct {
	Key Key
	UID string
	// Owner is the UID of the Configuration that controls it; empty when nothing does.
	Owner string
	// Service and Configuration are names; Service is empty when a Configuration of its own made it.
	Service, Configuration string
	// Generation is the generation of the Configuration that it was made from; 0 when it does not say.
	Generation int64
	// Template is the fingerprint of its spec.
	Template string
	Created  time.Time
	// Ready is its condition Ready.
	Ready Condition
	// WasReady says that it has been ready at some time. No other revision gets requests.
	WasReady bool
	// Preserved keeps it from being retired (annotation serving.knative.dev/no-gc).
	Preserved bool
	// Routing says whether Routes name it; RoutingSince is when that last changed, zero if never.
	Routing      RoutingState
	RoutingSince time.Time
	// Routes are the names of the Routes that name it, sorted.
	Routes []string
	// Protocol is what its serving container speaks.
	Protocol Protocol
	// ProgressDeadline is how long it may take to become ready.
	ProgressDeadline time.Duration
	// Conditions are those of the status.
	Conditions []Condition
}

// RoutingState says whether Routes name a Revision. It is empty before the first labelling, which counts as pending.
type RoutingState string

// The routing states, as the label serving.knative.dev/routingState has them.
const (
	RoutingPending RoutingState = "pending"
	RoutingActive  RoutingState = "active"
	RoutingReserve RoutingState = "reserve"
)

// RouteSpec is a Route of the API, as written, with its status. A Route is the result of resolving it.
type RouteSpec struct {
	Key Key
	UID string
	// Owner is the UID of the object that controls it; empty when nothing does.
	Owner string
	// Service is the name of the Service that it belongs to; empty for a Route of its own.
	Service string
	// Generation counts the changes of the spec; Observed is the one that the status speaks of.
	Generation, Observed int64
	Created              time.Time
	// Traffic is the split asked for.
	Traffic []Target
	// Labels select its domain; Labels and Annotations are for templates of host names. They must not be changed.
	Labels, Annotations map[string]string
	// ClusterLocal keeps it from being visible outside (label networking.knative.dev/visibility).
	ClusterLocal bool
	// LocalTags are the tags that are not visible outside, whatever the Route is; the empty one is the Route's own host.
	LocalTags []string
	// HTTP says what becomes of external requests without TLS; nil means the default of the installation.
	HTTP *HTTPOption
	// RolloutDuration is how long it takes until a new revision has its whole share; 0 means the default of the installation.
	RolloutDuration time.Duration
	// Served is the split that the status lists: the one in force.
	Served []Target
	// URL and Address (the URL within the cluster) are from the status; they are empty before the first reconciliation.
	URL, Address string
	// Rollout is the stored state of gradual rollouts: JSON, empty when there is none.
	Rollout string
	// Conditions are those of the status.
	Conditions []Condition
}

// Target is one entry of a traffic split. In a spec it names a Configuration or a Revision; in a status always a Revision.
type Target struct {
	// Tag gives the target a host of its own; empty for none.
	Tag string
	// Revision and Configuration are names in the namespace of the Route.
	Revision, Configuration string
	// Latest says that the target follows the latest ready revision of its Configuration.
	Latest bool
	// Percent is 0 to 100.
	Percent int
	// URL is the tag's, in a status only.
	URL string
}
