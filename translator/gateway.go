package translator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// The names of the gateway's listeners, and of the RouteConfigurations that they use.
const (
	listenerHTTP  = "http"
	listenerHTTPS = "https"
	listenerLocal = "local"
)

// gatewayPart is the translation of the gateway. Its listeners come first, because the translation of Routes depends on them, and the rest
// after the Routes.
type gatewayPart struct {
	in       model.Gateway
	unit     *Unit
	problems []model.Problem
	// listeners, routes and secrets are its Listeners, the RouteConfigurations that they use and the certificates that they serve.
	// activators are the cluster of all activators, its assignment, and their token. tracing is for sending spans.
	listeners, routes, secrets, activators, tracing []*Resource
	http, local                                     *routeTable
	// form says in which form routes reach the gateway.
	form form
}

// form is what the translation of every Route depends on. It changes when an operator changes something, and when the gateway gets its
// first certificate or loses the last one.
type form struct {
	// scoping says which hosts are scopes of their own.
	scoping scoping
	secure  secure
}

// secure says for which hosts requests without TLS can be sent to HTTPS.
type secure struct {
	// listens says that the gateway serves HTTPS, byDefault that it has a certificate for all hosts, port is where clients reach it; 0 is
	// 443.
	listens, byDefault bool
	port               int
}

// of returns what a Rule's HTTPOption comes to.
func (s secure) of(r model.Rule) model.HTTPOption {
	if s.listens && (s.byDefault || r.Certificate != "") {
		return r.HTTP
	}
	return ""
}

// startGateway makes the gateway's listeners, and reuses from prev what did not change.
func startGateway(in model.Gateway, prev *memo) *gatewayPart {
	part := &gatewayPart{in: in}
	if old := prev.gateway; old != nil && in.Equal(old.in) {
		part.listeners, part.secrets, part.problems, part.form = old.listeners, old.secrets, slices.Clip(old.problems), old.form
		part.tracing = old.tracing
		return part
	}
	part.addListeners()
	part.addTracing()
	if isScoped(in) {
		part.form.scoping = scoping{on: true, http: part.usesHTTP(), local: part.listens(listenerLocal)}
	}
	if part.listens(listenerHTTPS) {
		part.form.secure = secure{listens: true, byDefault: !in.NoDefault, port: in.HTTPSPort}
	}
	return part
}

// finish makes all other resources of the gateway.
func (p *gatewayPart) finish(now, prev *memo) {
	old := prev.gateway
	if old == nil {
		old = &gatewayPart{}
	}
	p.addRoutes(old, prev.routes.parts, now.routes.parts)
	p.activators = old.activators
	if old.unit == nil || !slices.Equal(now.activators, prev.activators) || now.token != prev.token {
		p.addActivators(now.activators, now.token)
	}
	resources := slices.Concat(p.listeners, p.routes, p.secrets, p.activators, p.tracing)
	p.unit = newUnit(old.unit, "gateway", position{kind: kindGateway}, resources)
}

// addRoutes makes the RouteConfigurations that the listeners use.
func (p *gatewayPart) addRoutes(old *gatewayPart, before, now []*routePart) {
	if p.form.scoping.on {
		return
	}
	if p.usesHTTP() {
		p.http = old.http.update(listenerHTTP, before, now, func(r *routePart) chunk { return r.http })
		p.routes = append(p.routes, p.http.resource)
	}
	if p.listens(listenerLocal) {
		p.local = old.local.update(listenerLocal, before, now, func(r *routePart) chunk { return r.local })
		p.routes = append(p.routes, p.local.resource)
	}
}

func (p *gatewayPart) usesHTTP() bool { return p.listens(listenerHTTP) || p.listens(listenerHTTPS) }

func (p *gatewayPart) listens(name string) bool {
	return slices.ContainsFunc(p.listeners, func(r *Resource) bool { return r.Name == name })
}

// addActivators makes the cluster of all activators, and the secret with their token, which only activators get.
func (p *gatewayPart) addActivators(activators []model.Endpoint, token string) {
	var b resourceBuilder
	b.add(ClusterType, contract.ActivatorCluster, RoleGateway,
		edsCluster(contract.ActivatorCluster, upstreamProtocol{protocol: model.HTTP1}))
	b.add(AssignmentType, contract.ActivatorCluster, RoleGateway,
		assignment(contract.ActivatorCluster, []zone{{contract.ZoneActivator, activators}}))
	if token != "" {
		b.add(SecretType, contract.ActivatorSecret, RoleActivator, &tlsv3.Secret{Name: contract.ActivatorSecret,
			Type: &tlsv3.Secret_GenericSecret{
				GenericSecret: &tlsv3.GenericSecret{
					Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: token}},
				},
			}})
	}
	if b.err != nil {
		p.report(contract.ActivatorCluster, "InvalidResource", b.err.Error())
	}
	p.activators = b.resources
}

// report records a Problem with a listener. It belongs to the installation, not to an object of the API.
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
			p.report(l.name, "InvalidAddress", fmt.Sprintf("listener %s is left out: listener %s has the address %s already", l.name, other,
				l.address))
			continue
		}
		taken[address] = l.name
		p.addListener(l.name, address)
	}
}

func (p *gatewayPart) addListener(name string, address netip.AddrPort) {
	l := newListener(name, address, p.in)
	if name == listenerHTTPS {
		certificates := p.addSecrets(p.usable(p.in.Certificates))
		if len(certificates) == 0 {
			return
		}
		addTLS(l, certificates, p.in.NoDefault)
	}
	r, err := newResource(ListenerType, name, RoleGateway, l)
	if err != nil {
		p.report(name, "InvalidResource", err.Error())
		return
	}
	p.listeners = append(p.listeners, r)
}

// parseAddress reads host:port. Without a host it means all IPv4 addresses, and localhost means 127.0.0.1: Envoy listens only on addresses.
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
