package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// Assignment is the endpoints of a cluster as the balancer uses them. It is immutable but for the counters of its hosts.
type Assignment struct {
	Version    string
	Body       []byte
	endpoints  []Endpoint // all of them, also those that take no requests
	priorities []priority // by falling precedence, empty ones left out
}

// Host is an address in a zone, with its counters. Consecutive assignments with the same address in the same zone share it.
type Host struct {
	// Set before the first assignment with the host is in force.
	Address string
	load    *zoneLoad // of its zone

	// By any goroutine.
	outlierState
	Active        atomic.Int64  // requests in progress
	Total, Errors atomic.Uint64 // attempts; Errors are those that got no response, or one that was retried
}

// Endpoint is a host as one assignment describes it.
type Endpoint struct {
	*Host
	Zone     string
	Priority uint32
	Weight   uint32
	Health   settings.Health
}

// priority is the usable localities of one priority.
type priority struct {
	localities []locality
	total      uint64 // the sum of their weights
}

// locality is the usable endpoints of one locality.
type locality struct {
	weight  uint32
	hosts   []*Host
	total   uint64   // the sum of weights; 0 when all weigh the same
	weights []uint32 // nil when all weigh the same
	next    *atomic.Uint32
}

// NewAssignment makes an assignment. Hosts that prev has too are taken from there; prev may be nil.
func NewAssignment(from *settings.Endpoints, prev *Assignment) *Assignment {
	a := &Assignment{Version: from.Version, Body: from.Body}
	known := knownHosts{}
	if prev != nil {
		for _, e := range prev.endpoints {
			known[place{e.Address, e.Zone}] = e.Host
		}
	}
	levels := map[uint32]*priority{}
	for i := range from.Localities {
		group := &from.Localities[i]
		first := len(a.endpoints)
		for j := range group.Endpoints {
			e := &group.Endpoints[j]
			a.endpoints = append(a.endpoints, Endpoint{
				Host: known.host(e.Address, group.Zone), Zone: group.Zone, Priority: group.Priority, Weight: e.Weight, Health: e.Health,
			})
		}
		level := levels[group.Priority]
		if level == nil {
			level = &priority{}
			levels[group.Priority] = level
		}
		level.add(a.endpoints[first:], group.Weight)
	}
	a.priorities = ordered(levels)
	return a
}

// place is what makes two endpoints the same host.
type place struct{ address, zone string }

type knownHosts map[place]*Host

// host finds or makes the host at a place.
func (k knownHosts) host(address, zone string) *Host {
	h := k[place{address, zone}]
	if h == nil {
		h = &Host{Address: address}
		k[place{address, zone}] = h
	}
	return h
}

// add adds a locality with its usable endpoints. A weight of 0 is one that was not given.
func (p *priority) add(endpoints []Endpoint, weight uint32) {
	l := locality{weight: weight, next: &atomic.Uint32{}}
	l.next.Store(rand.Uint32()) // gateways do not all begin with the same endpoint
	equal := true
	for i := range endpoints {
		if e := &endpoints[i]; e.Health.Usable() {
			l.hosts = append(l.hosts, e.Host)
			l.weights = append(l.weights, e.Weight)
			l.total += uint64(e.Weight)
			equal = equal && e.Weight == l.weights[0]
		}
	}
	if equal {
		l.weights, l.total = nil, 0
	}
	if len(l.hosts) > 0 {
		p.localities = append(p.localities, l)
	}
}

// ordered sorts priorities and completes the weights of localities. Where some of a priority have a weight, localities without get no
// requests; where none has, each weighs as much as it has endpoints.
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

// Pick chooses a host of the first priority that has a usable one. It prefers, in this order: a host that was neither tried nor is to be
// avoided, of the first priority or else of the next ones; a host that was not tried; any host. It returns nil when there is none.
func (a *Assignment) Pick(policy settings.Balancing, tried []*Host, avoid func(*Host) bool) *Host {
	if a == nil || len(a.priorities) == 0 {
		return nil
	}
	if h := a.pickExcept(policy, func(h *Host) bool { return slices.Contains(tried, h) || avoid(h) }); h != nil {
		return h
	}
	if h := a.pickExcept(policy, func(h *Host) bool { return slices.Contains(tried, h) }); h != nil {
		return h
	}
	return a.priorities[0].pick(policy)
}

func (a *Assignment) pickExcept(policy settings.Balancing, avoid func(*Host) bool) *Host {
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

// pickLast chooses a host for the last attempt: of a priority that was not tried yet, if there is one. So when all endpoints of a priority
// fail at once, the next priority answers, even if there are more endpoints than attempts.
func (a *Assignment) pickLast(policy settings.Balancing, tried []*Host, avoid func(*Host) bool) *Host {
	if a == nil {
		return nil
	}
	for i := range a.priorities {
		if p := &a.priorities[i]; !p.holds(tried) {
			return p.pick(policy)
		}
	}
	return a.Pick(policy, tried, avoid)
}

// holds is whether any of the hosts belongs to the priority.
func (p *priority) holds(any []*Host) bool {
	for i := range p.localities {
		for _, h := range p.localities[i].hosts {
			if slices.Contains(any, h) {
				return true
			}
		}
	}
	return false
}

func (p *priority) pick(policy settings.Balancing) *Host {
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
func (p *priority) other(avoid func(*Host) bool) *Host {
	for i := range p.localities {
		hosts := p.localities[i].hosts
		first := rand.IntN(len(hosts)) // not always the host next to the one to be avoided
		for j := range hosts {
			if h := hosts[(first+j)%len(hosts)]; !avoid(h) {
				return h
			}
		}
	}
	return nil
}

func (l *locality) pick(policy settings.Balancing) *Host {
	if len(l.hosts) == 1 {
		return l.hosts[0]
	}
	switch {
	case policy == settings.LeastRequest:
		a, b := l.draw(), l.draw()
		if b.Active.Load() < a.Active.Load() {
			return b
		}
		return a
	case policy == settings.RoundRobin && l.weights == nil:
		return l.hosts[l.next.Add(1)%uint32(len(l.hosts))]
	}
	return l.draw()
}

// draw is a random host, by weight.
func (l *locality) draw() *Host {
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

// List is all endpoints. A nil assignment has none.
func (a *Assignment) List() []Endpoint {
	if a == nil {
		return nil
	}
	return a.endpoints
}

// Healthy counts the endpoints that take requests.
func (a *Assignment) Healthy() uint64 {
	var n uint64
	for _, e := range a.List() {
		if e.Health.Usable() {
			n++
		}
	}
	return n
}
