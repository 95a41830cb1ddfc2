package resource

import gcp "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

// Type URLs of the resources whose order matters. The server serves other types too; it sends them in the make stage, in no
// particular order.
const (
	ClusterType  = gcp.ClusterType
	EndpointType = gcp.EndpointType
	SecretType   = gcp.SecretType
	ListenerType = gcp.ListenerType
	RouteType    = gcp.RouteType

	ScopedRouteType = gcp.ScopedRouteType
	ExtensionType   = gcp.ExtensionConfigType
)

// Everything is the name by which a client subscribes to all resources of a type.
const Everything = "*"

// Limits on what clients send, in bytes.
const (
	MaxName   = 2048 // of a resource or cluster name
	MaxNodeID = 1024 // of a node id
)

// Resource is one Envoy resource, ready to send. All clients share it, and nobody changes it after it was given to the server.
type Resource struct {
	Type    string // type URL
	Name    string
	Version string // content hash: equal versions of one name mean equal bodies, on every replica and after every restart
	Body    []byte // the message's bytes: the value of the Any
	Roles   uint8  // which clients may have it; the same type and name may exist once for each role
}

// Update is a step from one state to the next. The server reads only type, name and roles of the resources in Removed. It sets
// a resource that is in both lists.
type Update struct {
	Set, Removed []*Resource
	// Versions are, by type URL, the versions that responses of a type carry from this state on, in place of the hash of what the
	// client has. An empty one ends that. They are for tests that need to know versions beforehand. A client that reconnects with such
	// a version is sent everything, because the version does not identify the client's resources.
	Versions map[string]string
}
