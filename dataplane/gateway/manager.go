package gateway

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

// Limits and defaults of a connection manager. They are Envoy's, but for headersTimeout and maxStreams, which Envoy leaves
// open unless its edge guide is followed.
const (
	defaultHeaderKiB      = 60
	defaultHeaderCount    = 100
	defaultHeadersTimeout = 10 * time.Second
	defaultConnectionIdle = time.Hour
	defaultStreamIdle     = 5 * time.Minute
	defaultMaxStreams     = 1000
)

// manager is a compiled HTTP connection manager. It is immutable. One of rds, inline and fragments says where its routes are.
type manager struct {
	statPrefix string

	rds       string      // the name of a route configuration; empty for another source
	inline    *routeTable // the routes within the listener; nil for another source
	fragments int         // how many times the key of a scope has the host; 0 for another source

	headersTimeout, connectionIdle, streamIdle, maxDuration time.Duration // 0 is none
	maxHeaderBytes, maxHeaders, maxStreams                  int

	upgrades map[string]bool // lower case

	stripPort                     portStripping
	stripDot                      bool
	normalize, mergeSlashes       bool
	rejectEscapedSlashes          bool
	appendForwardedFor, edge      bool
	trustedHops                   uint32
	requestID, overwriteRequestID bool
	requestIDInResponse           bool
}

// portStripping is when the port is taken off a request's host.
type portStripping int

const (
	keepPort portStripping = iota
	stripMatchingPort
	stripAnyPort
)

func compileManager(m *hcmv3.HttpConnectionManager) (*manager, error) {
	common := m.GetCommonHttpProtocolOptions()
	h := &manager{
		statPrefix:          m.GetStatPrefix(),
		headersTimeout:      durationOr(m.GetRequestHeadersTimeout(), defaultHeadersTimeout),
		connectionIdle:      durationOr(common.GetIdleTimeout(), defaultConnectionIdle),
		streamIdle:          durationOr(m.GetStreamIdleTimeout(), defaultStreamIdle),
		maxDuration:         durationOr(common.GetMaxStreamDuration(), 0),
		maxHeaderBytes:      defaultHeaderKiB << 10,
		maxHeaders:          defaultHeaderCount,
		maxStreams:          defaultMaxStreams,
		upgrades:            map[string]bool{},
		stripDot:            m.GetStripTrailingHostDot(),
		normalize:           m.GetNormalizePath().GetValue(),
		mergeSlashes:        m.GetMergeSlashes(),
		edge:                m.GetUseRemoteAddress().GetValue(),
		appendForwardedFor:  m.GetUseRemoteAddress().GetValue() && !m.GetSkipXffAppend(),
		trustedHops:         m.GetXffNumTrustedHops(),
		requestID:           m.GetGenerateRequestId() == nil || m.GetGenerateRequestId().GetValue(),
		requestIDInResponse: m.GetAlwaysSetRequestIdInResponse(),
	}
	h.overwriteRequestID = h.edge && !m.GetPreserveExternalRequestId()
	if n := m.GetMaxRequestHeadersKb(); n != nil {
		h.maxHeaderBytes = int(n.GetValue()) << 10
	}
	if n := common.GetMaxHeadersCount(); n != nil {
		h.maxHeaders = int(n.GetValue())
	}
	if n := m.GetHttp2ProtocolOptions().GetMaxConcurrentStreams(); n != nil {
		h.maxStreams = int(min(n.GetValue(), 1<<30))
	}
	for _, u := range m.GetUpgradeConfigs() {
		h.upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	if m.GetRequestTimeout().AsDuration() != 0 {
		return nil, at("request_timeout", fmt.Errorf("a limit is %w; 0s is none", errUnsupported))
	}
	if err := compilePaths(h, m); err != nil {
		return nil, err
	}
	if err := checkFilters(m.GetHttpFilters()); err != nil {
		return nil, err
	}
	return h, compileRouteSource(h, m)
}

func compilePaths(m *manager, from *hcmv3.HttpConnectionManager) error {
	switch {
	case from.GetStripAnyHostPort():
		m.stripPort = stripAnyPort
	case from.GetStripMatchingHostPort():
		m.stripPort = stripMatchingPort
	}
	switch action := from.GetPathWithEscapedSlashesAction(); action {
	case hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcmv3.HttpConnectionManager_KEEP_UNCHANGED:
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		m.rejectEscapedSlashes = true
	default:
		return at("path_with_escaped_slashes_action", fmt.Errorf("%s is %w", action, errUnsupported))
	}
	return nil
}

// checkFilters wants the router and nothing else, save filters that may be left out where they are not known.
func checkFilters(filters []*hcmv3.HttpFilter) error {
	for i, f := range filters {
		_, err := unpack(f.GetTypedConfig(), &routerv3.Router{})
		if err == nil && i != len(filters)-1 {
			err = errors.New("the router must be the last filter")
		}
		if err != nil && !f.GetIsOptional() {
			return atIndex("http_filters", i, fmt.Errorf("%q: %w", f.GetName(), err))
		}
		if err == nil {
			return nil
		}
	}
	return at("http_filters", errors.New("has no router"))
}

// compileRouteSource finds out where the routes are.
func compileRouteSource(m *manager, from *hcmv3.HttpConnectionManager) error {
	if rds := from.GetRds(); rds != nil {
		m.rds = rds.GetRouteConfigName()
		if m.rds == "" {
			return at("rds", errors.New("route_config_name is missing"))
		}
		return at("rds", at("config_source", fromADS(rds.GetConfigSource())))
	}
	if scoped := from.GetScopedRoutes(); scoped != nil {
		return at("scoped_routes", compileScoped(m, scoped))
	}
	if from.GetRouteConfig() == nil {
		return errors.New("has neither rds, scoped_routes nor route_config")
	}
	body, err := proto.Marshal(from.GetRouteConfig())
	if err != nil {
		return at("route_config", err)
	}
	table, err := compileRoutes("", "", body, nil)
	if err != nil {
		return at("route_config", err)
	}
	m.inline = &table.routeTable
	return nil
}
