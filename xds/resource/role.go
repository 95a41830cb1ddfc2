package resource

import (
	"iter"

	"sluice.dev/sluice/contract"
)

// AllRoles is the set of all roles.
const AllRoles = contract.RoleGateway | contract.RoleActivator | contract.RoleMesh

// RoleCount is the number of roles.
const RoleCount = 3

// EachRole yields the roles in a set, lowest bit first.
func EachRole(set uint8) iter.Seq[uint8] {
	return func(yield func(uint8) bool) {
		for role := contract.RoleGateway; role <= contract.RoleMesh; role <<= 1 {
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
