package gateway

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// cluster is a named group of endpoints. It lives as long as its name does; what may change hangs off atomic pointers, so
// that a request reads one version of each.
type cluster struct {
	name      string
	stats     clusterStats
	config    atomic.Pointer[clusterConfig]
	endpoints atomic.Pointer[assignment] // nil until it has been received
	// removed is set when the control plane has taken the cluster away and it only lingers.
	removed atomic.Bool

	// mu guards zones, which requests do not look into: each host points at what it counts.
	mu       sync.Mutex
	zones    map[string]*zoneLoad
	reported struct { // the reporter's: what the last report said
		total uint64
		busy  bool
	}
}

// linger is how long a removed cluster still serves requests that have been routed to it: their routes may be older than
// its removal, by as long as the scheduler kept them from running.
const linger = 2 * time.Second

// clusterConfig is a decoded Cluster. It is immutable.
type clusterConfig struct {
	version string
	body    []byte
	// eds is the name of the endpoint assignment to subscribe to; static holds it when it is within the cluster.
	eds            string
	static         *endpointGroups
	policy         balancing
	protocol       upstreamProtocol
	connectTimeout time.Duration
	outliers       outlierDetection
	// asks is that HTTP/2 endpoints are asked whether they are there.
	asks bool
	// onceOnly is that a connection is used for one request alone.
	onceOnly bool
}

// upstreamProtocol is what endpoints are spoken to in.
type upstreamProtocol int

const (
	http1 upstreamProtocol = iota
	h2c
	sameAsDownstream
)

// balancing is how an endpoint is chosen.
type balancing int

const (
	roundRobin balancing = iota
	leastRequest
	random
)

// defaultConnectTimeout is Envoy's for a cluster that does not say.
const defaultConnectTimeout = 5 * time.Second

// httpOptionsKey is where a cluster keeps its HttpProtocolOptions.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func compileCluster(name, version string, body []byte) (*clusterConfig, error) {
	m, err := decode(body, &clusterv3.Cluster{})
	if err != nil {
		return nil, err
	}
	if m.GetName() != name {
		return nil, at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	c := &clusterConfig{version: version, body: body, connectTimeout: durationOr(m.GetConnectTimeout(), defaultConnectTimeout)}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
	case clusterv3.Cluster_LEAST_REQUEST:
		c.policy = leastRequest
	case clusterv3.Cluster_RANDOM:
		c.policy = random
	default:
		return nil, at("lb_policy", fmt.Errorf("%s is %w", m.GetLbPolicy(), errUnsupported))
	}
	if s := m.GetTransportSocket(); s != nil {
		if _, err := unpack(s.GetTypedConfig(), &rawv3.RawBuffer{}); err != nil {
			return nil, at("transport_socket", err)
		}
	}
	c.outliers = compileOutlierDetection(m.GetOutlierDetection())
	if err := compileProtocol(c, m); err != nil {
		return nil, err
	}
	return c, compileDiscovery(c, m)
}

func compileProtocol(c *clusterConfig, m *clusterv3.Cluster) error {
	if m.GetHttp2ProtocolOptions() != nil { //nolint:staticcheck // the older way to ask for HTTP/2
		c.protocol = h2c
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
		c.onceOnly = options.GetCommonHttpProtocolOptions().GetMaxRequestsPerConnection().GetValue() == 1
		switch o := options.GetUpstreamProtocolOptions().(type) {
		case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
			c.protocol = sameAsDownstream
			c.asks = o.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions().GetConnectionKeepalive() != nil
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
			c.protocol = http1
			if h2 := o.ExplicitHttpConfig.GetHttp2ProtocolOptions(); h2 != nil {
				c.protocol, c.asks = h2c, h2.GetConnectionKeepalive() != nil
			}
		}
	}
	return nil
}

func compileDiscovery(c *clusterConfig, m *clusterv3.Cluster) (err error) {
	switch {
	case m.GetType() == clusterv3.Cluster_STATIC:
		c.static, err = compileGroups(m.GetLoadAssignment())
		return at("load_assignment", err)
	case m.GetType() != clusterv3.Cluster_EDS:
		return at("type", fmt.Errorf("%s is %w; EDS and STATIC are", m.GetType(), errUnsupported))
	case m.GetLoadAssignment() != nil:
		return at("load_assignment", errors.New("is for a cluster of type STATIC"))
	}
	if err := fromADS(m.GetEdsClusterConfig().GetEdsConfig()); err != nil {
		return at("eds_cluster_config", at("eds_config", err))
	}
	if c.eds = m.GetEdsClusterConfig().GetServiceName(); c.eds == "" {
		c.eds = m.GetName()
	}
	return nil
}

// fromADS checks that a resource is to come over the one stream that there is.
func fromADS(s *corev3.ConfigSource) error {
	if s.GetAds() == nil && s.GetSelf() == nil {
		return fmt.Errorf("must be ads: any other source is %w", errUnsupported)
	}
	return nil
}
