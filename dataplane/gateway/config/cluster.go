package config

import (
	"errors"
	"fmt"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// Envoy's defaults.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultEjectAfter     = 5
	defaultEjection       = 30 * time.Second
)

// httpOptionsKey is where a cluster keeps its HttpProtocolOptions.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// CompileCluster compiles a Cluster.
func CompileCluster(name, version string, body []byte) (*settings.Cluster, error) {
	m, err := decodeNamed(name, body, &clusterv3.Cluster{})
	if err != nil {
		return nil, err
	}
	c := &settings.Cluster{Version: version, Body: body, ConnectTimeout: durationOr(m.GetConnectTimeout(), defaultConnectTimeout)}
	if isCollector(name) {
		c.Static = &settings.Endpoints{}
		return c, nil
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
	case clusterv3.Cluster_LEAST_REQUEST:
		c.Policy = settings.LeastRequest
	case clusterv3.Cluster_RANDOM:
		c.Policy = settings.Random
	default:
		return nil, at("lb_policy", fmt.Errorf("%s is %w", m.GetLbPolicy(), errUnsupported))
	}
	if s := m.GetTransportSocket(); s != nil {
		if _, err := unpack(s.GetTypedConfig(), &rawv3.RawBuffer{}); err != nil {
			return nil, at("transport_socket", err)
		}
	}
	c.Outliers = compileOutlierDetection(m.GetOutlierDetection())
	if err := compileProtocol(c, m); err != nil {
		return nil, err
	}
	return c, compileDiscovery(c, m)
}

func compileProtocol(c *settings.Cluster, m *clusterv3.Cluster) error {
	if m.GetHttp2ProtocolOptions() != nil { //nolint:staticcheck // the older way to ask for HTTP/2
		c.Protocol = settings.H2C
	}
	for key, any := range m.GetTypedExtensionProtocolOptions() {
		field := "typed_extension_protocol_options[" + key + "]"
		if key != httpOptionsKey {
			return at(field, errUnsupported)
		}
		options, err := unpack(any, &httpv3.HttpProtocolOptions{})
		if err != nil {
			return at(field, err)
		}
		c.SingleUse = options.GetCommonHttpProtocolOptions().GetMaxRequestsPerConnection().GetValue() == 1
		switch o := options.GetUpstreamProtocolOptions().(type) {
		case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
			c.Protocol = settings.SameAsDownstream
			c.Pings = o.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions().GetConnectionKeepalive() != nil
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
			c.Protocol = settings.HTTP1
			if h2 := o.ExplicitHttpConfig.GetHttp2ProtocolOptions(); h2 != nil {
				c.Protocol, c.Pings = settings.H2C, h2.GetConnectionKeepalive() != nil
			}
		}
	}
	return nil
}

func compileDiscovery(c *settings.Cluster, m *clusterv3.Cluster) (err error) {
	switch {
	case m.GetType() == clusterv3.Cluster_STATIC:
		c.Static, err = compileGroups(m.GetLoadAssignment())
		return at("load_assignment", err)
	case m.GetType() != clusterv3.Cluster_EDS:
		return at("type", fmt.Errorf("%s is %w; EDS and STATIC are", m.GetType(), errUnsupported))
	case m.GetLoadAssignment() != nil:
		return at("load_assignment", errors.New("is for a cluster of type STATIC"))
	}
	if err := fromADS(m.GetEdsClusterConfig().GetEdsConfig()); err != nil {
		return at("eds_cluster_config", at("eds_config", err))
	}
	if c.EDS = m.GetEdsClusterConfig().GetServiceName(); c.EDS == "" {
		c.EDS = m.GetName()
	}
	return nil
}

// fromADS checks that a resource comes over the ADS stream, the only one that there is.
func fromADS(s *corev3.ConfigSource) error {
	if s.GetAds() == nil && s.GetSelf() == nil {
		return fmt.Errorf("must be ads: any other source is %w", errUnsupported)
	}
	return nil
}

func compileOutlierDetection(m *clusterv3.OutlierDetection) settings.OutlierDetection {
	o := settings.OutlierDetection{Failures: defaultEjectAfter, Ejection: durationOr(m.GetBaseEjectionTime(), defaultEjection)}
	if n := m.GetConsecutiveLocalOriginFailure(); n != nil {
		o.Failures = int32(min(n.GetValue(), math.MaxInt32))
	}
	share := m.GetEnforcingConsecutiveLocalOriginFailure()
	if m == nil || !m.GetSplitExternalLocalOriginErrors() || share != nil && share.GetValue() == 0 {
		o.Failures = 0
	}
	return o
}
