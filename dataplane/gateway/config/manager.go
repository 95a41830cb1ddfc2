package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// Defaults of a connection manager. They are Envoy's, but for defaultHeadersTimeout and defaultMaxStreams: there Envoy has no limit, and
// its guide for edge proxies recommends one.
const (
	defaultHeaderKiB      = 60
	defaultHeaderCount    = 100
	defaultHeadersTimeout = 10 * time.Second
	defaultConnectionIdle = time.Hour
	defaultStreamIdle     = 5 * time.Minute
	defaultMaxStreams     = 1000
)

func compileManager(m *hcmv3.HttpConnectionManager) (*settings.Manager, error) {
	common := m.GetCommonHttpProtocolOptions()
	h := &settings.Manager{
		StatPrefix:          m.GetStatPrefix(),
		HeadersTimeout:      durationOr(m.GetRequestHeadersTimeout(), defaultHeadersTimeout),
		ConnectionIdle:      durationOr(common.GetIdleTimeout(), defaultConnectionIdle),
		StreamIdle:          durationOr(m.GetStreamIdleTimeout(), defaultStreamIdle),
		MaxDuration:         durationOr(common.GetMaxStreamDuration(), 0),
		MaxHeaderBytes:      defaultHeaderKiB << 10,
		MaxHeaders:          defaultHeaderCount,
		MaxStreams:          defaultMaxStreams,
		Upgrades:            map[string]bool{},
		StripDot:            m.GetStripTrailingHostDot(),
		Normalize:           m.GetNormalizePath().GetValue(),
		MergeSlashes:        m.GetMergeSlashes(),
		Edge:                m.GetUseRemoteAddress().GetValue(),
		AppendForwardedFor:  m.GetUseRemoteAddress().GetValue() && !m.GetSkipXffAppend(),
		TrustedHops:         m.GetXffNumTrustedHops(),
		RequestID:           m.GetGenerateRequestId() == nil || m.GetGenerateRequestId().GetValue(),
		RequestIDInResponse: m.GetAlwaysSetRequestIdInResponse(),
	}
	h.Tracing = compileTracing(m.GetTracing())
	h.OverwriteRequestID = h.Edge && !m.GetPreserveExternalRequestId()
	if n := m.GetMaxRequestHeadersKb(); n != nil {
		h.MaxHeaderBytes = int(n.GetValue()) << 10
	}
	if n := common.GetMaxHeadersCount(); n != nil {
		h.MaxHeaders = int(n.GetValue())
	}
	if n := m.GetHttp2ProtocolOptions().GetMaxConcurrentStreams(); n != nil {
		h.MaxStreams = int(min(n.GetValue(), 1<<30))
	}
	for _, u := range m.GetUpgradeConfigs() {
		h.Upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
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

func compilePaths(m *settings.Manager, from *hcmv3.HttpConnectionManager) error {
	switch {
	case from.GetStripAnyHostPort():
		m.StripPort = settings.StripAnyPort
	case from.GetStripMatchingHostPort():
		m.StripPort = settings.StripMatchingPort
	}
	switch action := from.GetPathWithEscapedSlashesAction(); action {
	case hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcmv3.HttpConnectionManager_KEEP_UNCHANGED:
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		m.RejectEscapedSlashes = true
	default:
		return at("path_with_escaped_slashes_action", fmt.Errorf("%s is %w", action, errUnsupported))
	}
	return nil
}

// checkFilters accepts the router, and filters before it that are marked optional.
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

// compileRouteSource fills in where the routes are.
func compileRouteSource(m *settings.Manager, from *hcmv3.HttpConnectionManager) error {
	if rds := from.GetRds(); rds != nil {
		m.RDS = rds.GetRouteConfigName()
		if m.RDS == "" {
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
	table, err := CompileRoutes("", "", body, nil)
	if err != nil {
		return at("route_config", err)
	}
	m.Inline = &table.RouteTable
	return nil
}
