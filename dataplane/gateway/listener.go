package gateway

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// listener is a compiled Listener. It is immutable.
type listener struct {
	name, version string
	body          []byte
	address       string // host:port as configured; port 0 is any free one
	chains        []*filterChain
	fallback      *filterChain // for server names that no chain is for; nil refuses them
	settings      serverSettings
}

// filterChain is how connections for some server names are served.
type filterChain struct {
	serverNames []string     // lower case, "*.example.com" for one suffix; empty is all
	tls         *tlsSettings // nil is plain text
	http        *manager
}

// serverSettings are what is fixed when a server starts: connections taken under other settings keep them.
type serverSettings struct {
	tls            bool
	headerTimeout  time.Duration
	idleTimeout    time.Duration // 0 is none
	maxHeaderBytes int
	maxStreams     int
}

func compileListener(name, version string, body []byte) (*listener, error) {
	m, err := decode(body, &listenerv3.Listener{})
	if err != nil {
		return nil, err
	}
	if m.GetName() != name {
		return nil, at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	l := &listener{name: name, version: version, body: body}
	if l.address, err = listenAddress(m.GetAddress().GetSocketAddress()); err != nil {
		return nil, at("address", err)
	}
	for i, f := range m.GetListenerFilters() {
		if err := checkListenerFilter(f); err != nil {
			return nil, atIndex("listener_filters", i, err)
		}
	}
	if err := compileChains(l, m); err != nil {
		return nil, err
	}
	return l, settle(l)
}

func listenAddress(s *corev3.SocketAddress) (string, error) {
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return "", fmt.Errorf("protocol %s is %w", s.GetProtocol(), errUnsupported)
	}
	port, ok := s.GetPortSpecifier().(*corev3.SocketAddress_PortValue)
	if !ok || port.PortValue > 65535 || net.ParseIP(s.GetAddress()) == nil {
		return "", errors.New("must be an IP address with a port_value")
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(port.PortValue), 10)), nil
}

// checkListenerFilter takes the filters that look at a connection's first bytes: net/http does so anyway.
func checkListenerFilter(f *listenerv3.ListenerFilter) error {
	_, err := unpack(f.GetTypedConfig(), &tlsinspectorv3.TlsInspector{})
	if err != nil {
		if _, httpErr := unpack(f.GetTypedConfig(), &httpinspectorv3.HttpInspector{}); httpErr == nil {
			return nil
		}
	}
	return at("typed_config", err)
}

func compileChains(l *listener, m *listenerv3.Listener) error {
	for i, c := range m.GetFilterChains() {
		chain, err := compileChain(c)
		if err != nil {
			return atIndex("filter_chains", i, err)
		}
		if len(chain.serverNames) > 0 {
			l.chains = append(l.chains, chain)
			continue
		}
		if l.fallback != nil {
			return atIndex("filter_chains", i, errors.New("a second filter chain without server_names would never be used"))
		}
		l.fallback = chain
	}
	if d := m.GetDefaultFilterChain(); d != nil {
		chain, err := compileChain(d)
		if err != nil {
			return at("default_filter_chain", err)
		}
		if l.fallback == nil {
			l.fallback = chain
		}
	}
	return nil
}

func compileChain(m *listenerv3.FilterChain) (*filterChain, error) {
	c := &filterChain{}
	for _, name := range m.GetFilterChainMatch().GetServerNames() {
		c.serverNames = append(c.serverNames, strings.ToLower(name))
	}
	if t := m.GetFilterChainMatch().GetTransportProtocol(); t != "" && (t == "tls") != (m.GetTransportSocket() != nil) {
		return nil, at("filter_chain_match.transport_protocol", fmt.Errorf("%q does not go with the transport_socket", t))
	}
	if len(m.GetFilters()) != 1 {
		return nil, at("filters", fmt.Errorf("there are %d; exactly one HTTP connection manager is supported", len(m.GetFilters())))
	}
	h, err := unpack(m.GetFilters()[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	if err == nil {
		c.http, err = compileManager(h)
	}
	if err != nil {
		return nil, at("filters[0].typed_config", err)
	}
	if s := m.GetTransportSocket(); s != nil {
		c.tls, err = compileTLS(s)
	}
	return c, at("transport_socket", err)
}

// settle takes the settings of the listener's server from its filter chains, which have to agree on TLS. Where limits
// differ the loosest holds for the server; each request is held to its own chain's.
func settle(l *listener) error {
	all := l.all()
	if len(all) == 0 {
		return at("filter_chains", errors.New("there are none"))
	}
	s := &l.settings
	s.tls = all[0].tls != nil
	for _, c := range all {
		if (c.tls != nil) != s.tls {
			return at("filter_chains", fmt.Errorf("TLS and plain text on one listener are %w", errUnsupported))
		}
		s.headerTimeout = max(s.headerTimeout, c.http.headersTimeout)
		s.idleTimeout = max(s.idleTimeout, c.http.connectionIdle)
		s.maxHeaderBytes = max(s.maxHeaderBytes, c.http.maxHeaderBytes)
		s.maxStreams = max(s.maxStreams, c.http.maxStreams)
	}
	if !s.tls && len(l.chains) > 0 {
		return at("filter_chains", errors.New("filter_chain_match.server_names needs TLS"))
	}
	return nil
}

// chain is the place in all of the filter chain for a server name: exact, then the longest suffix wildcard, then the one for all
// names. It is -1 when there is none.
func (l *listener) chain(serverName string) int {
	best, length := -1, 0
	if l.fallback != nil {
		best = len(l.chains)
	}
	if len(l.chains) == 0 {
		return best
	}
	name := strings.ToLower(serverName)
	for i, c := range l.chains {
		for _, want := range c.serverNames {
			if want == name {
				return i
			}
			if suffix, ok := strings.CutPrefix(want, "*"); ok && strings.HasSuffix(name, suffix) && len(suffix) > length {
				best, length = i, len(suffix)
			}
		}
	}
	return best
}

// all are the filter chains of a listener, the one for all names last.
func (l *listener) all() []*filterChain {
	if l.fallback == nil {
		return l.chains
	}
	return append(l.chains[:len(l.chains):len(l.chains)], l.fallback)
}
