package translator

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/model"
)

// The names of the gateway's listeners, and of the RouteConfigurations that they use.
const (
	listenerHTTP  = "http"
	listenerHTTPS = "https"
	listenerLocal = "local"
)

// gatewayPart is what the gateway became.
type gatewayPart struct {
	in       model.Gateway
	unit     *Unit
	problems []model.Problem
	// listeners and the RouteConfigurations that they use are those that there are; activators are the cluster of all
	// activators and its assignment.
	listeners, routes, activators []*Resource
}

// translateGateway makes the gateway's resources. What did not change is taken over from prev.
func translateGateway(in model.Gateway, now, prev *memo) *gatewayPart {
	part := &gatewayPart{in: in}
	old := prev.gateway
	if old == nil {
		old = &gatewayPart{}
	}
	if old.unit != nil && equalGateway(in, old.in) {
		part.listeners, part.problems = old.listeners, slices.Clip(old.problems)
	} else {
		part.addListeners()
	}
	part.addRoutes(old, now.routes.parts, old.unit != nil && slices.Equal(now.routes.parts, prev.routes.parts))
	part.activators = old.activators
	if old.unit == nil || !slices.Equal(now.activators, prev.activators) {
		part.addActivators(now.activators)
	}
	resources := slices.Concat(part.listeners, part.routes, part.activators)
	part.unit = newUnit(old.unit, "gateway", position{kind: kindGateway}, resources)
	return part
}

// addRoutes makes the RouteConfigurations that the listeners use. same says that no Route has changed.
func (p *gatewayPart) addRoutes(old *gatewayPart, routes []*routePart, same bool) {
	for _, rc := range []struct {
		name string
		used bool
		of   func(*routePart) chunk
	}{
		{listenerHTTP, p.listens(listenerHTTP) || p.listens(listenerHTTPS), func(r *routePart) chunk { return r.http }},
		{listenerLocal, p.listens(listenerLocal), func(r *routePart) chunk { return r.local }},
	} {
		if !rc.used {
			continue
		}
		before := named(old.routes, rc.name)
		if before == nil || !same {
			before = routeConfiguration(before, rc.name, routes, rc.of)
		}
		p.routes = append(p.routes, before)
	}
}

func (p *gatewayPart) listens(name string) bool { return named(p.listeners, name) != nil }

func named(resources []*Resource, name string) *Resource {
	for _, r := range resources {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// addActivators makes the cluster of all activators.
func (p *gatewayPart) addActivators(activators []model.Endpoint) {
	var b resourceBuilder
	b.add(ClusterType, activatorCluster, RoleGateway, edsCluster(activatorCluster, model.HTTP1))
	b.add(AssignmentType, activatorCluster, RoleGateway, assignment(activatorCluster, []zone{{zoneActivator, activators}}))
	if b.err != nil {
		p.report(activatorCluster, "InvalidResource", b.err.Error())
	}
	p.activators = b.resources
}

// report records a Problem with a listener. It belongs to no object of the API, but to the installation.
func (p *gatewayPart) report(listener, reason, message string) {
	owner := model.Ref{Kind: "Gateway", Key: model.Key{Name: listener}}
	p.problems = append(p.problems, model.Problem{Owner: owner, Reason: reason, Message: message})
}

func (p *gatewayPart) addListeners() {
	taken := map[netip.AddrPort]string{}
	for _, l := range []struct{ name, address string }{
		{listenerHTTP, p.in.HTTP}, {listenerHTTPS, p.in.HTTPS}, {listenerLocal, p.in.Local},
	} {
		if l.address == "" || l.name == listenerHTTPS && len(p.in.Certificates) == 0 {
			continue
		}
		address, err := parseAddress(l.address)
		if err != nil {
			p.report(l.name, "InvalidAddress", fmt.Sprintf("listener %s is left out: %s", l.name, err))
			continue
		}
		if other, ok := taken[address]; ok && address.Port() != 0 {
			p.report(l.name, "InvalidAddress", fmt.Sprintf("listener %s is left out: listener %s has the address %s already", l.name, other, l.address))
			continue
		}
		taken[address] = l.name
		p.addListener(l.name, address)
	}
}

func (p *gatewayPart) addListener(name string, address netip.AddrPort) {
	l := newListener(name, address, p.in.AccessLog)
	if name == listenerHTTPS {
		certificates := p.usable(p.in.Certificates)
		if len(certificates) == 0 {
			return
		}
		addTLS(l, certificates)
	}
	r, err := newResource(ListenerType, name, RoleGateway, l)
	if err != nil {
		p.report(name, "InvalidResource", err.Error())
		return
	}
	p.listeners = append(p.listeners, r)
}

// parseAddress reads host:port. No host means all addresses of IPv4, and localhost 127.0.0.1: Envoy listens on addresses only.
func parseAddress(s string) (netip.AddrPort, error) {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	if port, ok := strings.CutPrefix(s, "localhost:"); ok {
		s = "127.0.0.1:" + port
	}
	address, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address to listen on; want an IP address and a port, such as 127.0.0.1:8080", s)
	}
	return address, nil
}

func equalGateway(a, b model.Gateway) bool {
	return a.HTTP == b.HTTP && a.HTTPS == b.HTTPS && a.Local == b.Local && a.AccessLog == b.AccessLog &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(a, b model.Certificate) bool {
			return a.Name == b.Name && a.Chain == b.Chain && a.Key == b.Key && slices.Equal(a.Hosts, b.Hosts)
		})
}

// chunk is the virtual hosts of one Route in one RouteConfiguration, encoded as fields of it.
type chunk struct {
	bytes []byte
	hash  uint64
}

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

func (c *chunk) add(vh *routev3.VirtualHost) error {
	if vh == nil {
		return nil
	}
	if err := validate(vh); err != nil {
		return fmt.Errorf("validating virtual host %q: %w", vh.GetName(), err)
	}
	body, err := marshal(vh)
	if err != nil {
		return fmt.Errorf("encoding virtual host %q: %w", vh.GetName(), err)
	}
	c.bytes = appendField(c.bytes, virtualHostsField, body)
	c.hash = xxhash.Sum64(c.bytes)
	return nil
}

// routeConfiguration concatenates the virtual hosts of all Routes. Its version is a hash of their hashes, which tells
// whether there is anything to concatenate: if not, old is returned.
//
// The port of a Host header is ignored in matching, not stripped: applications build URLs from the header as it came.
func routeConfiguration(old *Resource, name string, parts []*routePart, of func(*routePart) chunk) *Resource {
	head := mustMarshal(&routev3.RouteConfiguration{Name: name})
	tail := mustMarshal(&routev3.RouteConfiguration{IgnorePortInHostMatching: true})
	size, hashes := len(head)+len(tail), make([]byte, 0, 8*len(parts))
	for _, p := range parts {
		if c := of(p); len(c.bytes) > 0 {
			size += len(c.bytes)
			hashes = binary.BigEndian.AppendUint64(hashes, c.hash)
		}
	}
	digest := xxhash.New()
	_, _ = digest.Write(head) // a hash takes everything
	_, _ = digest.Write(tail)
	_, _ = digest.Write(hashes)
	sum := formatVersion(digest.Sum64())
	if old != nil && old.Version == sum {
		return old
	}
	body := append(make([]byte, 0, size), head...)
	for _, p := range parts {
		body = append(body, of(p).bytes...)
	}
	return &Resource{Type: RouteType, Name: name, Version: sum, Body: append(body, tail...), Roles: RoleGateway}
}

// mustMarshal encodes a message that depends on nothing from outside.
func mustMarshal(m proto.Message) []byte {
	body, err := marshal(m)
	if err != nil {
		panic(err)
	}
	return body
}
