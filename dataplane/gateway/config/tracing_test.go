package config

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// The listeners of the translator say where spans go, and the cluster that Envoy needs for that is none of the gateway's.
func TestTracingOfTheTranslator(t *testing.T) {
	world := &model.World{Gateway: model.Gateway{
		HTTP: "127.0.0.1:8080", Local: "127.0.0.1:8081", CollectorRoots: "PEM",
		Tracing: model.Tracing{Protocol: model.TracingGRPC, Endpoint: "https://collector.observability:4317", SamplingRate: 0.5},
	}}
	want := settings.Tracing{Protocol: "grpc", Endpoint: "https://collector.observability:4317", SamplingRate: 0.5}
	listeners, clusters := 0, 0
	for _, u := range translator.Translate(world, nil).Units {
		for _, r := range u.Resources {
			switch r.Type {
			case translator.ListenerType:
				l, err := CompileListener(r.Name, r.Version, r.Body)
				if err != nil {
					t.Fatal(err)
				}
				for _, chain := range l.All() {
					if chain.HTTP.Tracing != want {
						t.Errorf("listener %s: %+v, want %+v", r.Name, chain.HTTP.Tracing, want)
					}
				}
				listeners++
			case translator.ClusterType:
				if _, err := CompileCluster(r.Name, r.Version, r.Body); err != nil {
					t.Errorf("cluster %s: %v", r.Name, err)
				}
				clusters++
			}
		}
	}
	if listeners != 2 || clusters != 2 {
		t.Errorf("%d listeners and %d clusters, want two each", listeners, clusters)
	}
}

// Tracers of other control planes are no mistake.
func TestUnknownTracersMeanNoSpans(t *testing.T) {
	world := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080"}}
	for _, tracer := range []proto.Message{&tracev3.ZipkinConfig{CollectorCluster: "zipkin"},
		&tracev3.OpenTelemetryConfig{ServiceName: "edge"}} {
		for _, u := range translator.Translate(world, nil).Units {
			for _, r := range u.Resources {
				if r.Type != translator.ListenerType {
					continue
				}
				l, err := CompileListener(r.Name, r.Version, withTracer(t, r.Body, tracer))
				if err != nil {
					t.Fatal(err)
				}
				if got := l.All()[0].HTTP.Tracing; got != (settings.Tracing{}) {
					t.Errorf("%T: %+v, want none", tracer, got)
				}
			}
		}
	}
}

// withTracer returns a listener with another tracer.
func withTracer(t *testing.T, body []byte, tracer proto.Message) []byte {
	t.Helper()
	var l listenerv3.Listener
	var manager hcmv3.HttpConnectionManager
	pack := func(m proto.Message) *anypb.Any {
		packed, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	if err := proto.Unmarshal(body, &l); err != nil {
		t.Fatal(err)
	}
	filter := l.GetFilterChains()[0].GetFilters()[0]
	if err := filter.GetTypedConfig().UnmarshalTo(&manager); err != nil {
		t.Fatal(err)
	}
	manager.Tracing = &hcmv3.HttpConnectionManager_Tracing{Provider: &tracev3.Tracing_Http{
		Name: "a tracer", ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(tracer)},
	}}
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(&manager)}
	changed, err := proto.Marshal(&l)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}
