package explain

import (
	"time"

	"sluice.dev/sluice/model"
)

// Explanation is the answer. Its JSON is stable: fields are added, none is renamed or removed.
type Explanation struct {
	// Asked is the question in full: "Service default/hello" or "host hello.default.localhost".
	Asked string `json:"asked"`
	// Verdict is the answer in one line, with the first broken link and its remedy where there is one.
	Verdict string `json:"verdict"`
	// Served says that revisions answer requests; it is false when that is unknown, too.
	Served bool `json:"served"`
	// Broken are the broken links of the chain, causes before consequences; empty when everything is as asked.
	Broken []Link `json:"broken"`
	// Near are names like the one asked for, when there is none of that name.
	Near []string `json:"near,omitempty"`
	// Service is absent for a Route of its own.
	Service *Object `json:"service,omitempty"`
	// Configurations are those that traffic follows and the Service's own, sorted by name.
	Configurations []Configuration `json:"configurations,omitempty"`
	Route          *Route          `json:"route,omitempty"`
	// Revisions are those that have or should have requests and the newest of each Configuration, sorted by name.
	Revisions []Revision `json:"revisions,omitempty"`
	// OtherRevisions counts those of the same Configurations that are left out.
	OtherRevisions int `json:"otherRevisions,omitempty"`
	// Hosts are groups of names with one virtual host: the Route's own first, then one per tag, each from outside before
	// cluster-local. For a question about a host it is the host's group alone.
	Hosts []HostGroup `json:"hosts,omitempty"`
	// Clients are all that are connected to the xDS server, sorted by role, then by id.
	Clients []Client `json:"clients,omitempty"`
}

// The links of the chain, in its order.
const (
	LinkAPI           = "api"           // the Kubernetes API can be read
	LinkObject        = "object"        // the object of the question exists
	LinkGeneration    = "generation"    // the control plane has seen the newest generation
	LinkRevision      = "revision"      // revisions that requests should go to are ready
	LinkConfiguration = "configuration" // the newest template has become the latest ready revision
	LinkRoute         = "route"         // traffic is as asked
	LinkHost          = "host"          // the host is this Route's
	LinkXDS           = "xds"           // the xDS server can be asked
	LinkVirtualHost   = "virtualHost"   // the host is offered to the data plane
	LinkCluster       = "cluster"       // each revision with a share is offered too
	LinkEndpoints     = "endpoints"     // a request finds a replica or an activator
	LinkClient        = "client"        // clients have acknowledged these resources
)

// Link is a broken link of the chain.
type Link struct {
	// Link is one of the constants above; Object is "Kind namespace/name" where an object is meant, or the client.
	Link   string `json:"link"`
	Object string `json:"object"`
	// Reason is one word, as conditions have it; Message is a sentence, Remedy says what to do.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	// Stops says that requests fail because of it. Without it the state before is still served.
	Stops bool `json:"stops"`
}

// Object are the fields that all objects of the API have.
type Object struct {
	// Name is "namespace/name".
	Name string `json:"name"`
	// Generation counts the changes of the spec; Observed is the generation of the status. When it is less, the control plane has not
	// seen the newest spec.
	Generation int64 `json:"generation,omitempty"`
	Observed   int64 `json:"observed,omitempty"`
	// Conditions are those that are not True.
	Conditions []Condition `json:"conditions,omitempty"`
}

// Condition is one condition of a status.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Configuration is the template, and the revisions made from it.
type Configuration struct {
	Object
	// LatestCreated and LatestReady are names of revisions.
	LatestCreated string `json:"latestCreated,omitempty"`
	LatestReady   string `json:"latestReady,omitempty"`
}

// Route is the split of requests, as asked for and as it is.
type Route struct {
	Object
	URL string `json:"url,omitempty"`
	// Targets are in the order of the spec. One that is given and no longer asked for comes last.
	Targets []Target `json:"targets"`
	// Rollouts are gradual ones under way.
	Rollouts []Rollout `json:"rollouts,omitempty"`
}

// Target is one entry of spec.traffic and what the status gives it.
type Target struct {
	Tag string `json:"tag,omitempty"`
	// Revision is the one that the spec names; without one the target follows Configuration's latest ready revision.
	Revision      string `json:"revision,omitempty"`
	Configuration string `json:"configuration,omitempty"`
	// Asked is the percent that the spec asks for, Given the revisions that have it.
	Asked int     `json:"asked"`
	Given []Share `json:"given,omitempty"`
	// Why is why Given differs from what is asked for.
	Why string `json:"why,omitempty"`
}

// Share is the part of the requests that a revision gets.
type Share struct {
	// Revision is a name in the Route's namespace.
	Revision string `json:"revision"`
	// Percent is 0 to 100.
	Percent int `json:"percent"`
}

// Rollout is a gradual rollout under way.
type Rollout struct {
	Configuration string `json:"configuration"`
	Tag           string `json:"tag,omitempty"`
	// Shares are sorted from the oldest revision to the newest, which has all requests in the end.
	Shares []Share `json:"shares"`
	// Next is when the next step is due, Step how many percent it moves; both are absent until the data plane has the first.
	Next *time.Time `json:"next,omitempty"`
	Step int        `json:"step,omitempty"`
}

// Revision is one version, and how requests reach it.
type Revision struct {
	Object
	// Percent is its share of the requests to the hosts asked about: those of a tag, or else the Route's own.
	Percent int `json:"percent"`
	// Tags are those that lead to it.
	Tags []string `json:"tags,omitempty"`
	// Ready is True, False or Unknown; empty for a revision that does not exist.
	Ready   string `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Desired and Actual are replicas asked for and ready; absent before the first decision.
	Desired *int `json:"desired,omitempty"`
	Actual  *int `json:"actual,omitempty"`
	// Scale is the autoscaler's sentence on its last step.
	Scale string `json:"scale,omitempty"`
	// Asked is what the load and each signal beside it asked for in that step, a sentence each; absent where the load alone counts.
	Asked []string `json:"asked,omitempty"`
	// Cluster is absent where the xDS server offers none, or cannot be asked.
	Cluster *Cluster `json:"cluster,omitempty"`
}

// The ways of requests to a revision.
const (
	ViaReplicas  = "replicas"
	ViaActivator = "activator"
	ViaNobody    = "nobody"
)

// Cluster is the cluster of a revision as the server offers it to gateways.
type Cluster struct {
	Name string `json:"name"`
	// Via is ViaReplicas, ViaActivator or ViaNobody; Why is why.
	Via string `json:"via"`
	Why string `json:"why"`
	// Zones are sorted by priority: the first gets the requests, the next one when that has no healthy endpoint.
	Zones []Zone `json:"zones"`
}

// Zone is a group of endpoints.
type Zone struct {
	// Name is pods or activator.
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	// Endpoints are addresses, host:port.
	Endpoints []string `json:"endpoints"`
}

// HostGroup are hosts that lead to the same revisions.
type HostGroup struct {
	Hosts []string `json:"hosts"`
	// Tag is empty for the Route's own hosts.
	Tag string `json:"tag,omitempty"`
	// Local says that the names are for within the cluster.
	Local bool   `json:"local"`
	URL   string `json:"url,omitempty"`
	// Lost are those of the Hosts that another Route has.
	Lost []Lost `json:"lost,omitempty"`
	// VirtualHost is absent where the xDS server offers none, or cannot be asked.
	VirtualHost *VirtualHost `json:"virtualHost,omitempty"`
}

// Lost is a host, and the Route that has it.
type Lost struct {
	Host   string `json:"host"`
	Holder string `json:"holder"`
}

// VirtualHost is the virtual host of a group of hosts as the server offers it to gateways.
type VirtualHost struct {
	Name string `json:"name"`
	// Listener is its name and Address where that listens.
	Listener string `json:"listener"`
	Address  string `json:"address,omitempty"`
	// Domains are the hosts that it answers for.
	Domains []string `json:"domains"`
	// Routes is the RouteConfiguration that its hosts' scopes lead to, where each host is a scope of its own.
	Routes string `json:"routes,omitempty"`
	// Clusters get its requests. Without any it answers by itself, with the status Answers.
	Clusters []Weight `json:"clusters,omitempty"`
	Answers  int      `json:"answers,omitempty"`
}

// Weight is the part of a virtual host's requests that a cluster gets.
type Weight struct {
	Cluster string `json:"cluster"`
	Weight  int    `json:"weight"`
}

// The states of a client.
const (
	StateInSync  = "in sync" // has acknowledged every resource of the chain that it subscribes to
	StateBehind  = "behind"  // has not acknowledged something yet
	StateRejects = "rejects" // keeps an older version, or nothing
	StateAside   = "does not take it"
	StateUnknown = "unknown" // does not read from its stream, so it is unknown what it has
)

// Client is a client of the xDS server, with the resources of the chain that it has.
type Client struct {
	ID string `json:"id"`
	// Role is gateway, activator or mesh (a proxyless gRPC client).
	Role string `json:"role"`
	// State is one of the constants above.
	State string `json:"state"`
	// BehindSeconds is for how long a resource has been unacknowledged.
	BehindSeconds float64 `json:"behindSeconds,omitempty"`
	// Behind are the resources of the chain that it has not acknowledged, as "type name".
	Behind []string `json:"behind,omitempty"`
	// Rejects are the resources of the chain that it NACKs.
	Rejects []Rejection `json:"rejects,omitempty"`
}

// Rejection is a resource that a client NACKs.
type Rejection struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// Text is the client's error text.
	Text string `json:"text"`
	// Without says that the client has no version of it, not even an older one.
	Without bool `json:"without,omitempty"`
}

func object(key model.Key, generation, observed int64, conditions []model.Condition) Object {
	o := Object{Name: key.String(), Generation: generation, Observed: observed}
	for _, c := range conditions {
		if c.Status != model.True {
			o.Conditions = append(o.Conditions, Condition{c.Type, string(c.Status), c.Reason, c.Message})
		}
	}
	return o
}
