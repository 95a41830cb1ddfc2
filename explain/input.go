package explain

import (
	"time"

	"sluice.dev/sluice/model"
)

// Input is what an Explanation depends on.
type Input struct {
	Query Query
	// Objects are what the API server has; Unreadable is why it could not be asked, with the remedy.
	Objects    Objects
	Unreadable *Failure
	// Views are what the xDS server says; Unknown is why it could not be asked, with the remedy.
	Views   Views
	Unknown *Failure
}

// Failure is why something could not be asked.
type Failure struct {
	// Who could not be asked; Message is a sentence that names it, Remedy says what to do.
	Who, Message, Remedy string
}

// Objects are those that the question is about: the Service, Configuration and Route of its name with the Configurations and
// Revisions that the Route names. All Routes are in it for a question about a host, and all Services and Routes where nothing
// of the name exists. More does no harm.
type Objects struct {
	Services       []*model.Service
	Configurations []*model.Configuration
	Routes         []*model.RouteSpec
	Revisions      []*RevisionState
}

// RevisionState is a Revision with what its status says of its replicas.
type RevisionState struct {
	*model.Revision
	// Generation counts the changes of the object itself, not of the Configuration; Observed is the one that the status speaks of.
	Generation, Observed int64
	// Desired and Actual are replicas asked for and ready; model.UnknownReplicas while nobody has decided.
	Desired, Actual int
	// Why is the sentence of its last scale step; empty when there was none.
	Why string
	// BurstCapacity is its target-burst-capacity as written; empty for the installation's.
	BurstCapacity string
}

// Views are what the xDS server offers and what its clients have.
type Views struct {
	// Offered is what gateways are to have, with its content.
	Offered Offer
	Clients []View
}

// Offer is the resources of one role.
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
	// Lag is for how long it has not acknowledged something.
	Lag time.Duration
	// Unknown says that what it has cannot be told: it is held up in taking what it was sent.
	Unknown bool
	// Resources are those that it has asked for.
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
	// Acknowledged says that it has what is offered. Refused is the client's text where it refuses that.
	Acknowledged bool
	Refused      string
	// Without says that the client has no version of it in force, where it refuses what is offered.
	Without bool
	// Absent says that the client asks for it, and that there is none.
	Absent bool
}
