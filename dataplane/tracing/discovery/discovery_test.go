package discovery

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// What the translator writes for activators is read as what it was made of.
func TestTranslatorsTracerIsRead(t *testing.T) {
	for _, want := range []model.Tracing{
		{Protocol: model.TracingGRPC, Endpoint: "http://collector.observability:4317", SamplingRate: 1},
		{Protocol: model.TracingGRPC, Endpoint: "https://[2001:db8::1]:4317", SamplingRate: 0.01},
		{Protocol: model.TracingHTTP, Endpoint: "http://10.0.0.9:4318/v1/traces", SamplingRate: 0.000001},
		{Protocol: model.TracingHTTP, Endpoint: "https://c.example:443/some/path", SamplingRate: 0.333333},
	} {
		world := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080", Tracing: want, CollectorRoots: "PEM"}}
		found := 0
		for _, u := range translator.Translate(world, nil).Units {
			for _, r := range u.Resources {
				if r.Type != translator.ExtensionType {
					continue
				}
				found++
				var extension corev3.TypedExtensionConfig
				var tracer tracev3.OpenTelemetryConfig
				if err := proto.Unmarshal(r.Body, &extension); err != nil {
					t.Fatal(err)
				}
				if err := extension.GetTypedConfig().UnmarshalTo(&tracer); err != nil {
					t.Fatal(err)
				}
				if got, err := Tracing(&tracer); err != nil || got != want {
					t.Errorf("%+v, %v; want %+v", got, err, want)
				}
				tracer.Sampler = nil
				if _, err := Tracing(&tracer); err == nil || !strings.Contains(err.Error(), "sampler") {
					t.Errorf("a tracer without a sampler: %v", err)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d extensions, want one", found)
		}
	}
}
