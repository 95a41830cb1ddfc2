package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// assignment is the endpoints of a cluster as the balancer uses them. It is immutable but for the counters of its hosts.
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
	health   endpointHealth
}

// endpointGroups are the endpoints of a cluster (a ClusterLoadAssignment), by locality. They are immutable.
type endpointGroups struct {
	version string
	body    []byte
	groups  []endpointGroup
}

// endpointGroup is the endpoints of one locality.
type endpointGroup struct {
	zone      string
	priority  uint32 // 0 is asked first
	weight    uint32 // of the locality among those of its priority; 0 where none was given
	endpoints []endpointSettings
}

// endpointSettings are an endpoint as the control plane describes it.
type endpointSettings struct {
	address string // host:port
	weight  uint32 // within its locality; at least 1
	health  endpointHealth
}

// endpointHealth is Envoy's HealthStatus, with the numbers of the API.
type endpointHealth int32

// The states of an endpoint's health.
const (
	healthUnknown endpointHealth = iota
	healthHealthy
	healthUnhealthy
	healthDraining
	healthTimeout
	healthDegraded
)

// usable is whether requests may go to the endpoint.
func (h endpointHealth) usable() bool {
	switch h {
	case healthUnhealthy, healthDraining, healthTimeout:
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

// compileEndpoints compiles a ClusterLoadAssignment.
func compileEndpoints(name, version string, body []byte) (*endpointGroups, error) {
	m, err := decode(body, &endpointv3.ClusterLoadAssignment{})
	if err != nil {
		return nil, err
	}
	if m.GetClusterName() != name {
		return nil, at("cluster_name", fmt.Errorf("is %q; it must be the name of the resource", m.GetClusterName()))
	}
	e, err := compileGroups(m)
	if err != nil {
		return nil, err
	}
	e.version, e.body = version, body
	return e, nil
}

func compileGroups(m *endpointv3.ClusterLoadAssignment) (*endpointGroups, error) {
	out := &endpointGroups{groups: make([]endpointGroup, 0, len(m.GetEndpoints()))}
	for i, locality := range m.GetEndpoints() {
		group := endpointGroup{
			zone: locality.GetLocality().GetZone(), priority: locality.GetPriority(), weight: locality.GetLoadBalancingWeight().GetValue(),
			endpoints: make([]endpointSettings, 0, len(locality.GetLbEndpoints())),
		}
		for j, e := range locality.GetLbEndpoints() {
			compiled, err := compileEndpoint(e)
			if err != nil {
				return nil, atIndex("endpoints", i, atIndex("lb_endpoints", j, err))
			}
			group.endpoints = append(group.endpoints, compiled)
		}
		out.groups = append(out.groups, group)
	}
	return out, nil
}

func compileEndpoint(m *endpointv3.LbEndpoint) (endpointSettings, error) {
	socket := m.GetEndpoint().GetAddress().GetSocketAddress()
	if socket == nil {
		return endpointSettings{}, errors.New("has no socket_address")
	}
	address, err := hostPort(socket)
	health := endpointHealth(m.GetHealthStatus())
	return endpointSettings{address: address, weight: max(1, m.GetLoadBalancingWeight().GetValue()), health: health}, err
}

// newAssignment is endpoints as the balancer uses them. Hosts that prev has too are taken from there; prev may be nil.
func newAssignment(from *endpointGroups, prev *assignment) *assignment {
	a := &assignment{version: from.version, body: from.body}
	known := knownHosts{}
	if prev != nil {
		for _, e := range prev.endpoints {
			known[place{e.address, e.zone}] = e.host
		}
	}
	levels := map[uint32]*priority{}
	for i := range from.groups {
		group := &from.groups[i]
		first := len(a.endpoints)
		for j := range group.endpoints {
			e := &group.endpoints[j]
			a.endpoints = append(a.endpoints, endpoint{
				host: known.host(e.address, group.zone), zone: group.zone, priority: group.priority, weight: e.weight, health: e.health,
			})
		}
		level := levels[group.priority]
		if level == nil {
			level = &priority{}
			levels[group.priority] = level
		}
		level.add(a.endpoints[first:], group.weight)
	}
	a.priorities = ordered(levels)
	return a
}

// place is what makes two endpoints the same host.
type place struct{ address, zone string }

type knownHosts map[place]*host

// host finds or makes the host at a place.
func (k knownHosts) host(address, zone string) *host {
	h := k[place{address, zone}]
	if h == nil {
		h = &host{address: address}
		k[place{address, zone}] = h
	}
	return h
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
		if e := &endpoints[i]; e.health.usable() {
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

// list gives the endpoints of an assignment, none for one that has not come.
func (a *assignment) list() []endpoint {
	if a == nil {
		return nil
	}
	return a.endpoints
}

// healthy counts the endpoints that take requests.
func (a *assignment) healthy() uint64 {
	var n uint64
	for _, e := range a.list() {
		if e.health.usable() {
			n++
		}
	}
	return n
}
