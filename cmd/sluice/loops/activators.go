package loops

import (
	"cmp"
	"net/netip"
	"slices"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/resource"
)

// connected tells the adapter which activators there are, when clients of the xDS server come or go.
func (l *Loops) connected(role uint8, nodes []resource.Node) {
	if role != contract.RoleActivator || l.Adapter == nil {
		return
	}
	if all, known := activatorsOf(l.options.Activators, nodes); known {
		l.Adapter.Activators(all)
	}
}

// activatorsOf returns the activators to name to gateways, sorted: our own and those that are connected. When none is left they are not
// known, and the last ones stay named: an activator whose stream breaks still serves, and requests for a revision that sleeps have nowhere
// else to go. An activator that ends says so before, by giving no address.
func activatorsOf(own []model.Endpoint, nodes []resource.Node) (all []model.Endpoint, known bool) {
	all = slices.Clone(own)
	for _, n := range nodes {
		all = append(all, EndpointsOf(n.Address)...)
	}
	slices.SortFunc(all, func(a, b model.Endpoint) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port)) })
	return slices.Compact(all), len(own)+len(nodes) > 0
}

// EndpointsOf reads an address, IP:port. It returns none for anything else.
func EndpointsOf(address string) []model.Endpoint {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return []model.Endpoint{{Host: a.Addr().String(), Port: int(a.Port())}}
}
