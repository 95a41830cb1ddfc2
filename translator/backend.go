package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

const (
	// leastActivators is how many activators stand in for a revision by default: two, so that one may die, and no more, because activators
	// that share a revision must divide its concurrency limit.
	leastActivators = 2
)

// backendPart is the translation of a Backend. One that could not be translated is not served, and its unit is empty.
type backendPart struct {
	outcome
	served           bool
	upstreamProtocol upstreamProtocol
	// timeout is the revision's; 0 is none.
	timeout time.Duration
}

func translateBackend(old *backendPart, in *model.Backend, activators []model.Endpoint) *backendPart {
	part := &backendPart{upstreamProtocol: upstreamProtocol{in.Protocol, in.Direct}, timeout: max(in.Timeout, 0)}
	name := in.Revision.String()
	var before *Unit
	if old != nil {
		before = old.unit
	}
	var b resourceBuilder
	if err := checkKey(in.Revision); err != nil {
		part.report(in, "InvalidName", err.Error())
	} else {
		part.addResources(&b, old, in, activators)
	}
	if b.err != nil {
		part.report(in, "InvalidResource", b.err.Error())
		b.resources = nil
	}
	part.served = len(b.resources) > 0
	part.unit = newUnit(before, "backend "+name, position{kindBackend, in.Revision}, b.resources)
	return part
}

func (p *backendPart) addResources(b *resourceBuilder, old *backendPart, in *model.Backend, activators []model.Endpoint) {
	name := in.Revision.String()
	pods := addresses(in.Endpoints)
	p.reportInvalid(in)
	chosen := nearest(name, activators, in.Activators)
	served := []zone{{contract.ZonePods, pods}, {contract.ZoneActivator, without(chosen, pods)}}
	switch {
	case in.Tasks:
		served = taskZones(name, chosen)
	case in.Via == model.ViaActivator:
		slices.Reverse(served)
	}
	if old != nil && old.served && old.upstreamProtocol == p.upstreamProtocol {
		b.keep(old.unit.Resources[0])
	} else {
		b.add(ClusterType, name, RoleGateway|RoleMesh, edsCluster(name, p.upstreamProtocol))
	}
	b.add(AssignmentType, name, RoleGateway|RoleMesh, assignment(name, served))
	b.add(AssignmentType, name, RoleActivator, activatorAssignment(in, pods, chosen))
}

// reportInvalid reports the endpoints that are left out.
func (p *backendPart) reportInvalid(in *model.Backend) {
	invalid := slices.DeleteFunc(slices.Clone(in.Endpoints), validEndpoint)
	slices.SortFunc(invalid, compareEndpoint)
	for _, e := range slices.Compact(invalid) {
		p.report(in, "InvalidEndpoint",
			fmt.Sprintf("endpoint %q port %d of revision %s is left out: want an IP address and a port from 1 to 65535",
				e.Host, e.Port, in.Revision))
	}
}

func (p *backendPart) report(in *model.Backend, reason, message string) {
	p.problems = append(p.problems, model.Problem{Owner: in.Owner, Reason: reason, Message: message})
}

// zone is a locality of an assignment.
type zone struct {
	name      string
	endpoints []model.Endpoint
}

// assignment gives the zones that have endpoints the priorities 0, 1, … in their order, without a gap.
func assignment(name string, zones []zone) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for _, z := range zones {
		if len(z.endpoints) == 0 {
			continue
		}
		locality := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Zone: z.name},
			LoadBalancingWeight: wrapperspb.UInt32(1),
			Priority:            uint32(len(a.Endpoints)),
			LbEndpoints:         lbEndpoints(z.endpoints),
		}
		a.Endpoints = append(a.Endpoints, locality)
	}
	return a
}

func lbEndpoints(endpoints []model.Endpoint) []*endpointv3.LbEndpoint {
	all := make([]*endpointv3.LbEndpoint, len(endpoints))
	for i, e := range endpoints {
		all[i] = &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(e.Host, e.Port)}},
		}
	}
	return all
}

func socketAddress(host string, port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// taskZones are the zones of a revision whose requests are tasks: its owner, and behind it the activators that hand tasks over to the owner
// or become it. No gateway sends a task to a replica by itself.
func taskZones(revision string, chosen []model.Endpoint) []zone {
	if len(chosen) == 0 {
		return nil
	}
	all := ranked(revision, chosen)
	others := all[1:]
	slices.SortFunc(others, compareEndpoint)
	return []zone{{contract.ZoneActivator, all[:1]}, {contract.ZoneActivator, others}}
}

// nearest picks n activators of a revision (0 means the least) by rendezvous hashing. Every replica of the control plane picks the same,
// and an activator that comes or goes moves only the revisions that it had or gets.
func nearest(revision string, activators []model.Endpoint, n int) []model.Endpoint {
	n = max(n, leastActivators)
	if len(activators) <= n {
		return activators
	}
	picked := ranked(revision, activators)[:n]
	slices.SortFunc(picked, compareEndpoint)
	return picked
}

// ranked sorts activators by rendezvous hashing. The first one is the owner of a revision whose requests are tasks.
func ranked(revision string, activators []model.Endpoint) []model.Endpoint {
	type scored struct {
		model.Endpoint
		score uint64
	}
	all := make([]scored, len(activators))
	for i, a := range activators {
		all[i] = scored{a, xxhash.Sum64String(revision + "|" + a.Host + "|" + strconv.Itoa(a.Port))}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), compareEndpoint(a.Endpoint, b.Endpoint))
	})
	sorted := make([]model.Endpoint, len(all))
	for i := range all {
		sorted[i] = all[i].Endpoint
	}
	return sorted
}

func without(from, what []model.Endpoint) []model.Endpoint {
	return slices.DeleteFunc(slices.Clone(from), func(e model.Endpoint) bool { return slices.Contains(what, e) })
}
