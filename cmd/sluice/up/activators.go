package up

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/socket"
	"sluice.dev/sluice/xds/resource"
)

// newActivator makes the activator of this process; nil if there is to be none.
func (u *Up) newActivator() (*activator.Activator, error) {
	if u.options.Activator == noActivator || u.options.Activator == "" {
		return nil, nil
	}
	listener, err := socket.ListenFor("--activator", u.options.Activator)
	if err != nil {
		return nil, err
	}
	quiet := time.Duration(0)
	if u.options.Gateway != GatewayNone {
		quiet = 50 * time.Millisecond // the gateway has ended before it
	}
	return activator.New(activator.Options{
		XDS: transport.InMemory, Dial: u.xds.Dial(), NodeID: transport.NodeID("activator"), Listener: listener,
		Logger: u.log.Named("activator"), Drain: stage.Drain, Quiet: quiet,
		Limits: activator.Limits{WaitingTotal: heldAtMost(u.options.MaxReplicas)},
	})
}

// connected tells the adapter which activators there are, when clients of the xDS server come or go.
func (l *loops) connected(role uint8, nodes []resource.Node) {
	if role != contract.RoleActivator || l.adapter == nil {
		return
	}
	if all, known := activatorsOf(l.own, nodes); known {
		l.adapter.Activators(all)
	}
}

// activatorsOf returns the activators to name to gateways, sorted: our own and those that are connected. When none is left they are not
// known, and the last ones stay named: an activator whose stream breaks still serves, and requests for a revision that sleeps have nowhere
// else to go. An activator that ends says so before, by giving no address.
func activatorsOf(own []model.Endpoint, nodes []resource.Node) (all []model.Endpoint, known bool) {
	all = slices.Clone(own)
	for _, n := range nodes {
		all = append(all, endpointsOf(n.Address)...)
	}
	slices.SortFunc(all, func(a, b model.Endpoint) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port)) })
	return slices.Compact(all), len(own)+len(nodes) > 0
}

// endpointsOf reads an address, IP:port; it returns none for anything else.
func endpointsOf(address string) []model.Endpoint {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return []model.Endpoint{{Host: a.Addr().String(), Port: int(a.Port())}}
}
