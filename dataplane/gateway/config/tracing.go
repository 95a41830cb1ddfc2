package config

import (
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/tracing/discovery"
)

// isCollector says whether a cluster is that of a collector of traces, whose name is a URL. Such a cluster is for Envoy: the gateway
// connects to the collector itself, and no route names it.
func isCollector(cluster string) bool { return strings.Contains(cluster, "://") }

// compileTracing reads where spans go. The gateway knows the OpenTelemetry tracer as Sluice's control plane writes it. Any other means that
// there are no spans, and is no mistake: no response depends on them.
func compileTracing(m *hcmv3.HttpConnectionManager_Tracing) settings.Tracing {
	var tracer tracev3.OpenTelemetryConfig
	config := m.GetProvider().GetTypedConfig()
	if !config.MessageIs(&tracer) || config.UnmarshalTo(&tracer) != nil {
		return settings.Tracing{}
	}
	t, err := discovery.Tracing(&tracer)
	if err != nil {
		return settings.Tracing{}
	}
	return settings.Tracing{Protocol: string(t.Protocol), Endpoint: t.Endpoint, SamplingRate: t.SamplingRate}
}
