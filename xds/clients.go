package xds

import (
	"cmp"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"sluice.dev/sluice/contract"
)

// clients are the nodes of one role, a stream each. The store guards them.
type clients struct {
	nodes   map[*Node]struct{}
	changes uint64
}

// known is what was said of the clients of one role.
type known struct {
	changes uint64
	nodes   []Node
}

// introduce counts a client that has said who it is among the connected ones until the returned function is called.
func (s *Server) introduce(node *corev3.Node) (gone func()) {
	n := &Node{ID: node.GetId(), Address: addressOf(node)}
	c := &s.store.clients[roleIndex(roleOf(node.GetCluster()))]
	change := func(apply func()) {
		s.store.mu.Lock()
		apply()
		c.changes++
		s.store.mu.Unlock()
		s.progress.signal()
	}
	change(func() { c.nodes[n] = struct{}{} })
	return func() { change(func() { delete(c.nodes, n) }) }
}

// addressOf is the address in a node's metadata, if it is one.
func addressOf(node *corev3.Node) string {
	text := node.GetMetadata().GetFields()[contract.MetadataKey].GetStructValue().GetFields()[contract.AddressField].GetStringValue()
	address, err := netip.ParseAddrPort(text)
	if err != nil || address.Port() == 0 || address.Addr().IsUnspecified() || address.Addr().Zone() != "" {
		return ""
	}
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()).String()
}

// lookAround tells of each role whose set of clients is another than was told last.
func (p *progress) lookAround() {
	for i := range p.known {
		nodes, changes := p.store.connected(i, p.known[i].changes)
		if changes == p.known[i].changes {
			continue
		}
		p.known[i].changes = changes
		slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Address, b.Address)) })
		nodes = slices.Compact(nodes)
		if slices.Equal(nodes, p.known[i].nodes) {
			continue
		}
		p.known[i].nodes = nodes
		p.clients(1<<i, slices.Clone(nodes))
	}
}

// connected is the clients of a role if there have been changes since seen.
func (s *store) connected(role int, seen uint64) (nodes []Node, changes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.clients[role]
	if c.changes == seen {
		return nil, seen
	}
	nodes = make([]Node, 0, len(c.nodes))
	for n := range c.nodes {
		nodes = append(nodes, *n)
	}
	return nodes, c.changes
}
