package config

import (
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// CompileEndpoints compiles a ClusterLoadAssignment.
func CompileEndpoints(name, version string, body []byte) (*settings.Endpoints, error) {
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
	e.Version, e.Body = version, body
	return e, nil
}

func compileGroups(m *endpointv3.ClusterLoadAssignment) (*settings.Endpoints, error) {
	out := &settings.Endpoints{Localities: make([]settings.Locality, 0, len(m.GetEndpoints()))}
	for i, locality := range m.GetEndpoints() {
		group := settings.Locality{
			Zone: locality.GetLocality().GetZone(), Priority: locality.GetPriority(), Weight: locality.GetLoadBalancingWeight().GetValue(),
			Endpoints: make([]settings.Endpoint, 0, len(locality.GetLbEndpoints())),
		}
		for j, e := range locality.GetLbEndpoints() {
			compiled, err := compileEndpoint(e)
			if err != nil {
				return nil, atIndex("endpoints", i, atIndex("lb_endpoints", j, err))
			}
			group.Endpoints = append(group.Endpoints, compiled)
		}
		out.Localities = append(out.Localities, group)
	}
	return out, nil
}

func compileEndpoint(m *endpointv3.LbEndpoint) (settings.Endpoint, error) {
	socket := m.GetEndpoint().GetAddress().GetSocketAddress()
	if socket == nil {
		return settings.Endpoint{}, errors.New("has no socket_address")
	}
	address, err := hostPort(socket)
	health := settings.Health(m.GetHealthStatus())
	return settings.Endpoint{Address: address, Weight: max(1, m.GetLoadBalancingWeight().GetValue()), Health: health}, err
}

// hostPort is an address as host:port. The host must be an IP address: the gateway resolves no names.
func hostPort(s *corev3.SocketAddress) (string, error) {
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return "", fmt.Errorf("protocol %s is %w", s.GetProtocol(), errUnsupported)
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	port, ok := s.GetPortSpecifier().(*corev3.SocketAddress_PortValue)
	if err != nil || ip.Zone() != "" || !ok || port.PortValue > 65535 {
		return "", fmt.Errorf("%q must be an IP address with a port_value", s.GetAddress())
	}
	return netip.AddrPortFrom(ip, uint16(port.PortValue)).String(), nil
}
