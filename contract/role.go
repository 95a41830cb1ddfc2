package contract

// Role is a kind of xDS client, one bit, or a set of kinds. It is an alias, so that the resources of package translator convert to
// those of package xds without a copy.
type Role = uint8

// The roles. A client of any other node.cluster than those of gateways and activators is of the mesh: a proxyless gRPC client.
const (
	RoleGateway Role = 1 << iota
	RoleActivator
	RoleMesh
)

// The names of the roles, which clients give as their node.cluster.
const (
	Gateway   = "gateway"
	Activator = "activator"
	Mesh      = "mesh"
)

// RoleName is the name of one role.
func RoleName(role Role) string {
	switch role {
	case RoleGateway:
		return Gateway
	case RoleActivator:
		return Activator
	default:
		return Mesh
	}
}

// RoleOf is the role of a client with this node.cluster.
func RoleOf(cluster string) Role {
	switch cluster {
	case Gateway:
		return RoleGateway
	case Activator:
		return RoleActivator
	default:
		return RoleMesh
	}
}
