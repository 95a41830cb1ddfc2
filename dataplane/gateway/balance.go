package gateway

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// assignment is a decoded ClusterLoadAssignment. It is immutable but for the counters of its hosts.
type assignment struct {
	version    string
	body       []byte
	endpoints  []endpoint // all of them, also those that take no requests
	priorities []priority // by falling precedence, empty ones left out
}

// host is an address in a zone and what is counted about it. It outlives assignments as long as it is in them.
type host struct {
	address string
	load    *zoneLoad // of its zone; nil until its assignment is in force
	standing
	active atomic.Int64
	total  atomic.Uint64
	errors atomic.Uint64
}

// endpoint is a host as one assignment has it.
type endpoint struct {
	*host
	zone     string
	priority uint32
	weight   uint32
	health   corev3.HealthStatus
}

// usable tells whether requests may go to an endpoint.
func (e *endpoint) usable() bool {
	switch e.health {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
		return false
	}
	return true
}

// priority is the usable localities of one priority.
type priority struct {
	localities []locality
	total      uint64 // the sum of their weights
}

// locality is the usable endpoints of one locality.
type locality struct {
	weight  uint32
	hosts   []*host
	total   uint64   // the sum of weights; 0 when all weigh the same
	weights []uint32 // nil when all weigh the same
	next    *atomic.Uint32
}

// newAssignment decodes endpoints; prev, which may be nil, is where hosts are taken from that stay.
func newAssignment(m *endpointv3.ClusterLoadAssignment, prev *assignment) (*assignment, error) {
	a := &assignment{}
	known := map[place]*host{}
	if prev != nil {
		for _, e := range prev.endpoints {
			known[place{e.address, e.zone}] = e.host
		}
	}
	levels := map[uint32]*priority{}
	for i, group := range m.GetEndpoints() {
		first := len(a.endpoints)
		for j, e := range group.GetLbEndpoints() {
			decoded, err := newEndpoint(e, group, known)
			if err != nil {
				return nil, atIndex("endpoints", i, atIndex("lb_endpoints", j, err))
			}
			a.endpoints = append(a.endpoints, decoded)
		}
		level := levels[group.GetPriority()]
		if level == nil {
			level = &priority{}
			levels[group.GetPriority()] = level
		}
		level.add(a.endpoints[first:], group.GetLoadBalancingWeight().GetValue())
	}
	a.priorities = ordered(levels)
	return a, nil
}

// place is what makes two endpoints the same host.
type place struct{ address, zone string }

func newEndpoint(m *endpointv3.LbEndpoint, group *endpointv3.LocalityLbEndpoints, known map[place]*host) (endpoint, error) {
	socket := m.GetEndpoint().GetAddress().GetSocketAddress()
	if socket == nil {
		return endpoint{}, fmt.Errorf("has no socket_address")
	}
	address, err := hostPort(socket)
	if err != nil {
		return endpoint{}, err
	}
	zone := group.GetLocality().GetZone()
	h := known[place{address, zone}]
	if h == nil {
		h = &host{address: address}
		known[place{address, zone}] = h
	}
	return endpoint{
		host: h, zone: zone, priority: group.GetPriority(),
		weight: max(1, m.GetLoadBalancingWeight().GetValue()), health: m.GetHealthStatus(),
	}, nil
}

// hostPort is the address of an endpoint, which must be an IP address: names are resolved by no one here.
func hostPort(s *corev3.SocketAddress) (string, error) {
	if net.ParseIP(s.GetAddress()) == nil {
		return "", fmt.Errorf("address %q must be an IP address", s.GetAddress())
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return "", fmt.Errorf("protocol %s is %w", s.GetProtocol(), errUnsupported)
	}
	port, ok := s.GetPortSpecifier().(*corev3.SocketAddress_PortValue)
	if !ok || port.PortValue > 65535 {
		return "", fmt.Errorf("port_value must be a port number")
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(port.PortValue), 10)), nil
}

// add takes the usable endpoints of a locality. A weight of 0 is one that was not given.
func (p *priority) add(endpoints []endpoint, weight uint32) {
	l := locality{weight: weight, next: &atomic.Uint32{}}
	l.next.Store(rand.Uint32()) // gateways do not all begin with the same endpoint
	equal := true
	for i := range endpoints {
		if e := &endpoints[i]; e.usable() {
			l.hosts = append(l.hosts, e.host)
			l.weights = append(l.weights, e.weight)
			l.total += uint64(e.weight)
			equal = equal && e.weight == l.weights[0]
		}
	}
	if equal {
		l.weights, l.total = nil, 0
	}
	if len(l.hosts) > 0 {
		p.localities = append(p.localities, l)
	}
}

// ordered sorts priorities and settles the weights of localities: where some are given, localities without get nothing;
// where none is, each weighs as many as it has endpoints.
func ordered(levels map[uint32]*priority) []priority {
	var numbers []uint32
	for n := range levels {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var out []priority
	for _, n := range numbers {
		p := levels[n]
		weighted := slices.ContainsFunc(p.localities, func(l locality) bool { return l.weight > 0 })
		if weighted {
			p.localities = slices.DeleteFunc(p.localities, func(l locality) bool { return l.weight == 0 })
		}
		for i := range p.localities {
			if !weighted {
				p.localities[i].weight = uint32(len(p.localities[i].hosts))
			}
			p.total += uint64(p.localities[i].weight)
		}
		if len(p.localities) > 0 {
			out = append(out, *p)
		}
	}
	return out
}

// pick chooses a host of the first priority that has a usable one. Hosts that are to be avoided come last: another of the
// same priority, then one of the next, then one that is avoided but was not tried, and only then the same again. It returns nil when
// there is none at all.
func (a *assignment) pick(policy balancing, tried []*host, avoid func(*host) bool) *host {
	if a == nil || len(a.priorities) == 0 {
		return nil
	}
	if h := a.pickUnlike(policy, func(h *host) bool { return slices.Contains(tried, h) || avoid(h) }); h != nil {
		return h
	}
	if h := a.pickUnlike(policy, func(h *host) bool { return slices.Contains(tried, h) }); h != nil {
		return h
	}
	return a.priorities[0].pick(policy)
}

func (a *assignment) pickUnlike(policy balancing, avoid func(*host) bool) *host {
	for i := range a.priorities {
		p := &a.priorities[i]
		h := p.pick(policy)
		if !avoid(h) {
			return h
		}
		if h = p.other(avoid); h != nil {
			return h
		}
	}
	return nil
}

// pickLast chooses a host for the last attempt: of a priority that was not tried yet, if there is one. When all endpoints of a
// priority are gone at once, and there are more than there are attempts, the next priority answers all the same.
func (a *assignment) pickLast(policy balancing, tried []*host, avoid func(*host) bool) *host {
	if a == nil {
		return nil
	}
	for i := range a.priorities {
		if p := &a.priorities[i]; !p.holds(tried) {
			return p.pick(policy)
		}
	}
	return a.pick(policy, tried, avoid)
}

// holds is whether any of the hosts belongs to the priority.
func (p *priority) holds(any []*host) bool {
	for i := range p.localities {
		for _, h := range p.localities[i].hosts {
			if slices.Contains(any, h) {
				return true
			}
		}
	}
	return false
}

func (p *priority) pick(policy balancing) *host {
	l := &p.localities[0]
	if len(p.localities) > 1 {
		n := rand.Uint64N(p.total)
		for i := range p.localities {
			if l = &p.localities[i]; n < uint64(l.weight) {
				break
			}
			n -= uint64(l.weight)
		}
	}
	return l.pick(policy)
}

// other is any host that is not to be avoided; nil when there is none.
func (p *priority) other(avoid func(*host) bool) *host {
	for i := range p.localities {
		hosts := p.localities[i].hosts
		first := rand.IntN(len(hosts)) // not always the one that stands beside the host that is avoided
		for j := range hosts {
			if h := hosts[(first+j)%len(hosts)]; !avoid(h) {
				return h
			}
		}
	}
	return nil
}

func (l *locality) pick(policy balancing) *host {
	if len(l.hosts) == 1 {
		return l.hosts[0]
	}
	switch {
	case policy == leastRequest:
		a, b := l.draw(), l.draw()
		if b.active.Load() < a.active.Load() {
			return b
		}
		return a
	case policy == roundRobin && l.weights == nil:
		return l.hosts[l.next.Add(1)%uint32(len(l.hosts))]
	}
	return l.draw()
}

// draw is a random host, by weight.
func (l *locality) draw() *host {
	if l.weights == nil {
		return l.hosts[rand.IntN(len(l.hosts))]
	}
	n := rand.Uint64N(l.total)
	for i, w := range l.weights {
		if n < uint64(w) {
			return l.hosts[i]
		}
		n -= uint64(w)
	}
	return l.hosts[len(l.hosts)-1]
}
