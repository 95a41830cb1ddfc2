package tracing

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"sluice.dev/sluice/model"
)

// OpenTelemetry's environment variables that FromEnvironment reads
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, .../protocol/exporter/).
const (
	EnvDisabled       = "OTEL_SDK_DISABLED"
	EnvExporter       = "OTEL_TRACES_EXPORTER"
	EnvEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	EnvTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	EnvProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	EnvTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	EnvSampler        = "OTEL_TRACES_SAMPLER"
	EnvSamplerArg     = "OTEL_TRACES_SAMPLER_ARG"
)

// SamplerParentRatio is the value of EnvSampler for a sampling rate, which is EnvSamplerArg then.
const SamplerParentRatio = "parentbased_traceidratio"

// FromEnvironment returns where spans go by OpenTelemetry's environment variables. Without an endpoint they go nowhere: unlike in
// OpenTelemetry's SDKs, that does not mean a collector on this host. The error names the variable.
func FromEnvironment(getenv func(string) string) (model.Tracing, error) {
	if disabled, _ := strconv.ParseBool(getenv(EnvDisabled)); disabled {
		return model.Tracing{}, nil
	}
	switch exporter := getenv(EnvExporter); exporter {
	case "", "otlp":
	case "none":
		return model.Tracing{}, nil
	default:
		return model.Tracing{}, fmt.Errorf("%s is %q, want otlp or none", EnvExporter, exporter)
	}
	protocol := model.TracingProtocol(cmp.Or(getenv(EnvTracesProtocol), getenv(EnvProtocol), string(model.TracingHTTP)))
	name, endpoint := EnvTracesEndpoint, getenv(EnvTracesEndpoint)
	if endpoint == "" {
		name, endpoint = EnvEndpoint, getenv(EnvEndpoint)
		if endpoint == "" {
			return model.Tracing{}, nil
		}
		if protocol == model.TracingHTTP { // the paths of signals are added to this one
			endpoint = strings.TrimSuffix(endpoint, "/") + "/v1/traces"
		}
	}
	rate, err := samplingRate(getenv)
	if err != nil {
		return model.Tracing{}, err
	}
	t, err := model.ParseTracing(protocol, endpoint, rate)
	if err != nil {
		return t, fmt.Errorf("%s and %s: %w", name, EnvTracesProtocol, err)
	}
	return t, nil
}

// samplingRate is the part of the requests without a caller's decision that gets spans. Samplers that overrule the caller are refused.
func samplingRate(getenv func(string) string) (float64, error) {
	switch sampler := getenv(EnvSampler); sampler {
	case "", "parentbased_always_on":
		return 1, nil
	case "always_off", "parentbased_always_off":
		return 0, nil
	case SamplerParentRatio:
	default:
		return 0, fmt.Errorf("%s is %q, want parentbased_always_on, %s, parentbased_always_off or always_off",
			EnvSampler, sampler, SamplerParentRatio)
	}
	arg := cmp.Or(getenv(EnvSamplerArg), "1")
	rate, err := strconv.ParseFloat(arg, 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return 0, fmt.Errorf("%s is %q, want a number from 0 to 1", EnvSamplerArg, arg)
	}
	return rate, nil
}
