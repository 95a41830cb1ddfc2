package config

import (
	"errors"
	"fmt"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// CompileListener compiles a Listener.
func CompileListener(name, version string, body []byte) (*settings.Listener, error) {
	m, err := decodeNamed(name, body, &listenerv3.Listener{})
	if err != nil {
		return nil, err
	}
	l := &settings.Listener{Name: name, Version: version, Body: body}
	if l.Address, err = hostPort(m.GetAddress().GetSocketAddress()); err != nil {
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

// checkListenerFilter accepts the filters that look at a connection's first bytes, as net/http does.
func checkListenerFilter(f *listenerv3.ListenerFilter) error {
	_, err := unpack(f.GetTypedConfig(), &tlsinspectorv3.TlsInspector{})
	if err != nil {
		if _, httpErr := unpack(f.GetTypedConfig(), &httpinspectorv3.HttpInspector{}); httpErr == nil {
			return nil
		}
	}
	return at("typed_config", err)
}

func compileChains(l *settings.Listener, m *listenerv3.Listener) error {
	for i, c := range m.GetFilterChains() {
		chain, err := compileChain(c)
		if err != nil {
			return atIndex("filter_chains", i, err)
		}
		if len(chain.ServerNames) > 0 {
			l.Chains = append(l.Chains, chain)
			continue
		}
		if l.Fallback != nil {
			return atIndex("filter_chains", i, errors.New("a second filter chain without server_names would never be used"))
		}
		l.Fallback = chain
	}
	if d := m.GetDefaultFilterChain(); d != nil {
		chain, err := compileChain(d)
		if err != nil {
			return at("default_filter_chain", err)
		}
		if l.Fallback == nil {
			l.Fallback = chain
		}
	}
	return nil
}

func compileChain(m *listenerv3.FilterChain) (*settings.FilterChain, error) {
	c := &settings.FilterChain{}
	for _, name := range m.GetFilterChainMatch().GetServerNames() {
		c.ServerNames = append(c.ServerNames, strings.ToLower(name))
	}
	if t := m.GetFilterChainMatch().GetTransportProtocol(); t != "" && (t == "tls") != (m.GetTransportSocket() != nil) {
		return nil, at("filter_chain_match.transport_protocol", fmt.Errorf("%q does not go with the transport_socket", t))
	}
	if len(m.GetFilters()) != 1 {
		return nil, at("filters", fmt.Errorf("there are %d; exactly one HTTP connection manager is supported", len(m.GetFilters())))
	}
	h, err := unpack(m.GetFilters()[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{})
	if err == nil {
		c.HTTP, err = compileManager(h)
	}
	if err != nil {
		return nil, at("filters[0].typed_config", err)
	}
	if s := m.GetTransportSocket(); s != nil {
		c.TLS, err = compileTLS(s)
	}
	return c, at("transport_socket", err)
}

// settle makes the settings of the server out of those of the filter chains, which must agree on TLS. The server has the loosest of
// their limits, and each request those of its own chain.
func settle(l *settings.Listener) error {
	all := l.All()
	if len(all) == 0 {
		return at("filter_chains", errors.New("there are none"))
	}
	s := &l.Server
	s.TLS = all[0].TLS != nil
	for _, c := range all {
		if (c.TLS != nil) != s.TLS {
			return at("filter_chains", fmt.Errorf("TLS and plain text on one listener are %w", errUnsupported))
		}
		s.HeaderTimeout = max(s.HeaderTimeout, c.HTTP.HeadersTimeout)
		s.IdleTimeout = max(s.IdleTimeout, c.HTTP.ConnectionIdle)
		s.MaxHeaderBytes = max(s.MaxHeaderBytes, c.HTTP.MaxHeaderBytes)
		s.MaxStreams = max(s.MaxStreams, c.HTTP.MaxStreams)
	}
	if !s.TLS && len(l.Chains) > 0 {
		return at("filter_chains", errors.New("filter_chain_match.server_names needs TLS"))
	}
	return nil
}
