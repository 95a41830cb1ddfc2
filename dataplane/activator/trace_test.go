package activator

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	otel "sluice.dev/sluice/test/collector"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/resource"
)

// tracing has the control plane send what the translator makes of a configuration.
func (b *bench) tracing(config model.Tracing) {
	b.Helper()
	world := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080", Tracing: config}}
	for _, u := range translator.Translate(world, nil).Units {
		for _, r := range u.Resources {
			if r.Type == translator.ExtensionType {
				b.server.Apply(resource.Update{Set: []*resource.Resource{{
					Type: r.Type, Name: r.Name, Version: r.Version, Body: r.Body, Roles: r.Roles,
				}}})
			}
		}
	}
}

// traced makes a request, and returns the traceparent that the application got.
func (b *bench) traced(headers ...string) string {
	b.Helper()
	a := do(b.client, b.request(http.MethodGet, "/", nil, headers...))
	if a.err != nil || a.StatusCode != http.StatusOK {
		b.Fatalf("the answer is %s", a)
	}
	return a.body
}

// spanOf waits for the activator's span of the request that became this traceparent.
func spanOf(t *testing.T, to *otel.Collector, traceparent string) (span otel.Span) {
	t.Helper()
	to.Await(t, patience, func(all []otel.Span) bool {
		at := slices.IndexFunc(all, func(s otel.Span) bool {
			return s.Kind == "SERVER" && s.ID != "" && strings.Contains(traceparent, s.Trace+"-"+s.ID)
		})
		if at >= 0 {
			span = all[at]
		}
		return at >= 0
	})
	return span
}

func TestTracingFollowsTheControlPlane(t *testing.T) {
	b := start(t, Options{})
	app := replicaOf(t, queueproxy.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Header.Get("Traceparent")))
	})
	gone := listener(t)
	b.set(cluster, facts{}, app)
	if got := b.traced(); got != "" {
		t.Errorf("without a collector the application got traceparent %q", got)
	}
	first, second := otel.New(t), otel.New(t)
	b.tracing(model.Tracing{Protocol: model.TracingGRPC, Endpoint: "http://" + first.GRPC, SamplingRate: 1})
	eventually(t, "spans are on", func() bool { return b.traced() != "" })
	span := spanOf(t, first, b.traced())
	if span.Service != contract.Activator || span.Resource["service.instance.id"] != "test" ||
		span.Attributes["http.response.status_code"] != "200" {
		t.Errorf("the span is %+v", span)
	}

	b.tracing(model.Tracing{Protocol: model.TracingHTTP, Endpoint: "http://" + second.HTTP + "/v1/traces", SamplingRate: 1})
	eventually(t, "the other collector gets spans", func() bool { b.traced(); return len(second.Spans()) > 0 })

	// A tracer that is none is refused, and the one before stays.
	b.server.Apply(resource.Update{Set: []*resource.Resource{{
		Type: resource.ExtensionType, Name: contract.TracingExtension, Version: "wrong", Roles: contract.RoleActivator,
		Body: marshal(t, &tlsv3.Secret{Name: contract.TracingExtension}),
	}}})
	b.until("a NACK", func() bool { return len(b.nacks) > 0 })
	spanOf(t, second, b.traced())

	// A replica that takes no connections is a try of its own.
	refusing := gone.Addr().String()
	_ = gone.Close()
	b.set(cluster, facts{}, app, refusing)
	eventually(t, "a request is tried twice", func() bool {
		return len(spanOf(t, second, b.traced()).Events) == 2
	})

	b.server.Apply(resource.Update{Removed: []*resource.Resource{{
		Type: resource.ExtensionType, Name: contract.TracingExtension, Roles: contract.RoleActivator,
	}}})
	eventually(t, "spans are off", func() bool { return b.traced() == "" })
}
