package translator

import (
	"cmp"
	"slices"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// The kinds of client that a Resource is for, as bits of Resource.Roles.
const (
	RoleGateway   = contract.RoleGateway
	RoleActivator = contract.RoleActivator
	RoleMesh      = contract.RoleMesh
)

// The type URLs of the resources that Translate emits.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	// ScopedRouteType is emitted where each host is a scope of its own.
	ScopedRouteType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	ClusterType     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	AssignmentType  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	// ExtensionType is emitted for activators where spans are sent to a collector.
	ExtensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	SecretType    = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Resource is one marshalled Envoy resource. It is immutable, and unique by Type, Name and Roles.
type Resource struct {
	// Type is the type URL.
	Type string
	// Name is the resource's name in xDS.
	Name string
	// Version is a hash of the content in hex: equal content has an equal Version on every replica.
	Version string
	// Body is the deterministic encoding of the message: the value of its Any. It is shared and never changed.
	Body []byte
	// Roles are the kinds of client that may have it.
	Roles uint8
}

// Unit is what one owner brings: a Backend, a Route or the gateway. An owner whose resources did not change keeps its *Unit.
type Unit struct {
	// Key names the owner: "backend ns/revision", "gateway" or "route ns/name".
	Key string
	// Resources have a fixed order within a Unit.
	Resources []*Resource

	at position
}

// Output is everything that a World becomes. It is immutable.
type Output struct {
	// Units are the backends, the gateway and the routes; backends and routes are sorted by namespace and name.
	Units []*Unit
	// Problems are the mistakes of users, in the order of their owners. Units do not contain what they concern.
	Problems []model.Problem

	memo memo
}

// position is the place of a Unit among the Units of an Output.
type position struct {
	kind int
	key  model.Key
}

const (
	kindBackend = iota
	kindGateway
	kindRoute
)

func (p position) compare(other position) int {
	if c := cmp.Compare(p.kind, other.kind); c != 0 {
		return c
	}
	return p.key.Compare(other.key)
}

// Diff returns the resources that are new in next or have another version there, and the resources of prev that are missing in next. prev
// may be nil. It costs one comparison of pointers for each Unit that did not change.
func Diff(prev, next *Output) (set, removed []*Resource) {
	var before []*Unit
	if prev != nil {
		before = prev.Units
	}
	after := next.Units
	for len(before) > 0 || len(after) > 0 {
		switch order := compareHeads(before, after); {
		case order < 0:
			removed = append(removed, before[0].Resources...)
			before = before[1:]
		case order > 0:
			set = append(set, after[0].Resources...)
			after = after[1:]
		default:
			if before[0] != after[0] {
				s, r := diffUnit(before[0], after[0])
				set, removed = append(set, s...), append(removed, r...)
			}
			before, after = before[1:], after[1:]
		}
	}
	return withoutMoved(set, removed)
}

func compareHeads(before, after []*Unit) int {
	switch {
	case len(after) == 0:
		return -1
	case len(before) == 0:
		return 1
	case before[0] == after[0]:
		return 0
	}
	return before[0].at.compare(after[0].at)
}

// identity is what makes a Resource unique.
type identity struct {
	typ, name string
	roles     uint8
}

func (r *Resource) identity() identity { return identity{r.Type, r.Name, r.Roles} }

func diffUnit(prev, next *Unit) (set, removed []*Resource) {
	before := make(map[identity]*Resource, len(prev.Resources))
	for _, r := range prev.Resources {
		before[r.identity()] = r
	}
	for _, r := range next.Resources {
		if old := before[r.identity()]; old == nil || old.Version != r.Version {
			set = append(set, r)
		}
		delete(before, r.identity())
	}
	for _, r := range prev.Resources {
		if before[r.identity()] != nil {
			removed = append(removed, r)
		}
	}
	return set, removed
}

// withoutMoved removes from removed the resources that set has: they moved from one owner to another, like the Listener of a host that
// another Route takes. It removes them from set, too, if they did not change.
func withoutMoved(set, removed []*Resource) (changed, gone []*Resource) {
	if len(removed) == 0 || len(set) == 0 {
		return set, removed
	}
	left := make(map[identity]string, len(removed))
	for _, r := range removed {
		left[r.identity()] = r.Version
	}
	moved := map[identity]bool{}
	changed = slices.DeleteFunc(set, func(r *Resource) bool {
		version, ok := left[r.identity()]
		if ok {
			moved[r.identity()] = true
		}
		return ok && version == r.Version
	})
	return changed, slices.DeleteFunc(removed, func(r *Resource) bool { return moved[r.identity()] })
}
