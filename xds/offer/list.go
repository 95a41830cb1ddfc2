package offer

import (
	"cmp"
	"slices"

	"sluice.dev/sluice/xds/resource"
)

// Offer is what a role is offered under a name.
type Offer struct {
	*Entry
	NackedVersion string // the version that clients NACK now, if any
	NackText      string // the error text of the first of them
}

// List is everything that a role is offered, in no order: see Sort.
func (s *State) List(role uint8) []Offer {
	var offers []Offer
	for key, t := range s.tables {
		if key.Role != role {
			continue
		}
		for name, e := range t.entries {
			o := Offer{Entry: e}
			if n := t.nacks[name]; n != nil {
				o.NackedVersion, o.NackText = n.version, n.text
			}
			offers = append(offers, o)
		}
	}
	return offers
}

// Sort brings offers into the order of resource.Kinds, and of names.
func Sort(offers []Offer) {
	slices.SortFunc(offers, func(a, b Offer) int {
		_, i := resource.KindOf(a.Type)
		_, j := resource.KindOf(b.Type)
		return cmp.Or(i-j, cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
}

// Count is how many resources the roles are offered; one that two roles may have counts twice.
func (s *State) Count() int { return s.count }

// TypeCount is how many resources of a type a role is offered, and how many of its names clients NACK.
type TypeCount struct {
	Key
	Offered, Rejected int
}

// Counts is a count for each type and role.
func (s *State) Counts() []TypeCount {
	counts := make([]TypeCount, 0, len(s.tables))
	for key, t := range s.tables {
		counts = append(counts, TypeCount{key, len(t.entries), len(t.nacks)})
	}
	return counts
}
