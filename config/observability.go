package config

import (
	"fmt"
	"strconv"

	"sluice.dev/sluice/model"
)

// ObservabilityName is the ConfigMap of traces.
const ObservabilityName = "config-observability"

// The keys of traces.
const (
	keyTracingProtocol = "tracing-protocol"
	keyTracingEndpoint = "tracing-endpoint"
	keyTracingRate     = "tracing-sampling-rate"
)

// Values of Knative's protocols that send nothing to a collector.
const (
	none   = "none"
	stdout = "stdout"
)

// observabilityUnused are the keys that concern parts which Sluice does not have, with the values that ask for nothing.
var observabilityUnused = map[string][]string{
	"metrics-protocol": {"", none, "prometheus"}, "request-metrics-protocol": {"", none, "prometheus"},
	"metrics-endpoint": {""}, "request-metrics-endpoint": {""},
	"metrics-export-interval": nil, "request-metrics-export-interval": nil,
	"runtime-profiling": {"", disabled}, "runtime-export-interval": nil,
	"logging.enable-request-log": {"", "false"}, "logging.enable-probe-request-log": {"", "false"}, "logging.request-log-template": nil,
	"logging.enable-var-log-collection": {"", "false"}, "logging.revision-url-template": nil,
}

func readObservability(s *Settings, k *keys) {
	protocol, endpoint, rate := none, "", 0.0
	read(k, keyTracingProtocol, &protocol, "grpc, http/protobuf or none", func(text string) (string, bool) {
		switch text {
		case "":
			return none, true
		case none, stdout, string(model.TracingGRPC), string(model.TracingHTTP):
			return text, true
		}
		return "", false
	})
	k.text(keyTracingEndpoint, &endpoint)
	read(k, keyTracingRate, &rate, "a number from 0 to 1", func(text string) (float64, bool) {
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v >= 0 && v <= 1
	})
	for key, harmless := range observabilityUnused {
		if text, ok := k.get(key); ok && harmless != nil && spelling(text, harmless...) == "" && text != "" {
			k.ignore(key, fmt.Sprintf("%s is %s, and Sluice does not have it.", key, text))
		}
	}
	s.Tracing = tracing(k, protocol, endpoint, rate)
}

// tracing joins what the keys of traces say.
func tracing(k *keys, protocol, endpoint string, rate float64) model.Tracing {
	if k.err() != nil {
		return model.Tracing{}
	}
	if protocol == none || protocol == stdout {
		if endpoint != "" {
			k.wrong(keyTracingEndpoint, "none with a "+keyTracingProtocol+" of "+protocol)
		}
		if protocol == stdout {
			k.ignore(keyTracingProtocol, "tracing-protocol is stdout, and Sluice does not have it.")
		}
		return model.Tracing{}
	}
	if _, ok := k.get(keyTracingRate); !ok {
		k.ignore(keyTracingEndpoint, "tracing-endpoint has no effect: tracing-sampling-rate is missing, which means 0.")
	}
	t, err := model.ParseTracing(model.TracingProtocol(protocol), endpoint, rate)
	if err != nil {
		k.wrong(keyTracingEndpoint, "the URL of a collector, such as http://collector.observability:4317: "+err.Error())
	}
	return t
}
