package explain

import (
	"time"

	"sluice.dev/sluice/model"
)

// Input is what an Explanation depends on.
type Input struct {
	Query Query
	// Objects are those in the API server; Unreadable is why they could not be read, with the remedy.
	Objects    Objects
	Unreadable *Failure
	// Views are the state of the xDS server; Unknown is why it could not be asked, with the remedy.
	Views   Views
	Unknown *Failure
}

// Failure is why a server could not be asked.
type Failure struct {
	// Who could not be asked; Message is a sentence that names it, Remedy says what to do.
	Who, Message, Remedy string
}

// Objects are those that the question is about: the Service, Configuration and Route of its name, with the Configurations and Revisions
// that the Route names. For a question about a host all Routes are among them, and where no object has the name, all Services and
// Routes. Further objects are ignored.
type Objects struct {
	Services       []*model.Service
	Configurations []*model.Configuration
	Routes         []*model.RouteSpec
	Revisions      []*RevisionState
	// Mappings are the DomainMappings of the host that the question is about, where no Route has it.
	Mappings []*model.Mapping
}

// RevisionState is a Revision with the state of its replicas by its status.
type RevisionState struct {
	*model.Revision
	// Generation counts the changes of the object itself, not of the Configuration; Observed is the generation of the status.
	Generation, Observed int64
	// Desired and Actual are replicas asked for and ready; model.UnknownReplicas before the first decision.
	Desired, Actual int
	// Why is the sentence of its last scale step; empty when there was none.
	Why string
	// Asked is what the load and each signal beside it asked for then, a sentence each.
	Asked []string
	// BurstCapacity is its target-burst-capacity as written; empty for the installation's.
	BurstCapacity string
	// Unguarded says that it has a concurrency limit and no queue-proxies.
	Unguarded bool
}

// Views are the resources that the xDS server offers, and those that its clients have.
type Views struct {
	// Offered are the resources for gateways, with their content.
	Offered Offer
	Clients []View
}

// Offer are the resources for one role.
type Offer struct {
	// Listeners are by name.
	Listeners map[string]Listener
	// VirtualHosts are those of each RouteConfiguration, by its name, or of all scopes whose names begin with it.
	VirtualHosts map[string][]VirtualHost
	// Clusters are the names of the clusters, Assignments the zones of their endpoints.
	Clusters    map[string]bool
	Assignments map[string][]Zone
}

// Listener is where a RouteConfiguration is served, or scopes.
type Listener struct {
	// Address is host:port, Routes the name of the RouteConfiguration.
	Address, Routes string
	// Scoped says that each host is a scope of its own, named by Routes, a slash and the host.
	Scoped bool
}

// View is a client of the xDS server.
type View struct {
	// ID is the node's; Role is gateway, activator or mesh.
	ID, Role string
	// Lag is for how long a resource has been unacknowledged.
	Lag time.Duration
	// Unknown says that the resources it has are unknown: it does not read from its stream.
	Unknown bool
	// Resources are those that it has subscribed to.
	Resources []ResourceView
}

// The kinds of resources, as they are written.
const (
	KindListener   = "Listener"
	KindRoutes     = "RouteConfiguration"
	KindScope      = "ScopedRouteConfiguration"
	KindCluster    = "Cluster"
	KindAssignment = "ClusterLoadAssignment"
)

// ResourceView is one resource as a client has it.
type ResourceView struct {
	// Kind is one of the constants above.
	Kind, Name string
	// Acknowledged says that the client has acknowledged the offered version. Rejected is its error text when it NACKs that version.
	Acknowledged bool
	Rejected     string
	// Without says that the client NACKs the offered version and has no older one.
	Without bool
	// Absent says that the client has subscribed to it, and that it does not exist.
	Absent bool
}
