// Package discovery reads from Envoy's configuration of an OpenTelemetry tracer where spans go, for the built-in gateway and activators.
//
// It is pure, and reads what package translator writes: the name of the collector's cluster is the collector's scheme, host and port. So
// whoever has the tracer needs no cluster.
package discovery

import (
	"errors"
	"fmt"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/model"
)

// Tracing returns what a tracer says. The error is for one that Sluice's control plane has not made.
func Tracing(config *tracev3.OpenTelemetryConfig) (model.Tracing, error) {
	rate, err := rateOf(config.GetSampler().GetTypedConfig())
	if err != nil {
		return model.Tracing{}, err
	}
	if grpc := config.GetGrpcService().GetEnvoyGrpc(); grpc != nil {
		return model.ParseTracing(model.TracingGRPC, grpc.GetClusterName(), rate)
	}
	if http := config.GetHttpService().GetHttpUri(); http != nil {
		return model.ParseTracing(model.TracingHTTP, http.GetUri(), rate)
	}
	return model.Tracing{}, errors.New("the tracer has neither envoy_grpc nor http_service")
}

var denominators = map[typev3.FractionalPercent_DenominatorType]float64{
	typev3.FractionalPercent_HUNDRED: 100, typev3.FractionalPercent_TEN_THOUSAND: 10_000, typev3.FractionalPercent_MILLION: 1_000_000,
}

// rateOf is the rate of a sampler that follows the caller and decides by the trace id where there is none.
func rateOf(sampler *anypb.Any) (float64, error) {
	var parent samplersv3.ParentBasedSamplerConfig
	if err := sampler.UnmarshalTo(&parent); err != nil {
		return 0, fmt.Errorf("sampler: %w", err)
	}
	var ratio samplersv3.TraceIdRatioBasedSamplerConfig
	if err := parent.GetWrappedSampler().GetTypedConfig().UnmarshalTo(&ratio); err != nil {
		return 0, fmt.Errorf("sampler: wrapped_sampler: %w", err)
	}
	percentage := ratio.GetSamplingPercentage()
	return float64(percentage.GetNumerator()) / denominators[percentage.GetDenominator()], nil
}
