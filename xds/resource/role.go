package resource

import "iter"

// Roles are the kinds of client, as bits of Resource.Roles. A client's role is its node.cluster: "gateway", "activator", or mesh
// for any other.
const (
	RoleGateway uint8 = 1 << iota
	RoleActivator
	RoleMesh
)

// AllRoles is the set of all roles.
const AllRoles = RoleGateway | RoleActivator | RoleMesh

// RoleCount is the number of roles.
const RoleCount = 3

// RoleName is how logs and statistics write a role.
func RoleName(role uint8) string {
	switch role {
	case RoleGateway:
		return "gateway"
	case RoleActivator:
		return "activator"
	default:
		return "mesh"
	}
}

// RoleOf is the role of a client with this node.cluster.
func RoleOf(cluster string) uint8 {
	switch cluster {
	case "gateway":
		return RoleGateway
	case "activator":
		return RoleActivator
	default:
		return RoleMesh
	}
}

// EachRole yields the roles in a set, lowest bit first.
func EachRole(set uint8) iter.Seq[uint8] {
	return func(yield func(uint8) bool) {
		for role := RoleGateway; role <= RoleMesh; role <<= 1 {
			if set&role != 0 && !yield(role) {
				return
			}
		}
	}
}

// RoleIndex is the position of a role's bit, 0 to RoleCount-1.
func RoleIndex(role uint8) int {
	i := 0
	for role > 1 {
		role >>= 1
		i++
	}
	return i
}
