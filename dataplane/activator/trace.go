package activator

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/dataplane/tracing/discovery"
)

// takeTracing takes where spans go.
func (a *Activator) takeTracing(_ string, body []byte) error {
	var extension corev3.TypedExtensionConfig
	if err := proto.Unmarshal(body, &extension); err != nil {
		return err
	}
	var tracer tracev3.OpenTelemetryConfig
	if err := extension.GetTypedConfig().UnmarshalTo(&tracer); err != nil {
		return err
	}
	config, err := discovery.Tracing(&tracer)
	if err != nil {
		return err
	}
	a.tracer.Configure(config)
	return nil
}

// waitForReplica waits for a slot of a replica. The span of the wait has the moments of a cold start.
func (x *exchange) waitForReplica(since time.Time) error {
	wait := x.span.Child("wait for a replica", since)
	err := x.revision.Wait(x.ctx, &x.Ticket)
	if wait == nil {
		return err
	}
	wait.Set(attribute.Bool("sluice.cold_start", x.Cold()))
	if x.Cold() {
		start, appeared := x.revision.ColdStart()
		for _, moment := range []struct {
			name string
			at   time.Time
		}{
			{"a replica was requested", start.Asked}, {"its process was started", start.Started},
			{"it was ready", start.Ready}, {"its endpoint was known", appeared},
		} {
			if moment.at.After(since) {
				wait.Event(moment.name, moment.at)
			}
		}
	}
	wait.End(err)
	return err
}

// chosen records the replica that the request is about to be sent to.
func (x *exchange) chosen() {
	if x.span == nil {
		return
	}
	x.tries++
	x.span.Event("replica chosen", time.Time{},
		attribute.String("network.peer.address", x.Replica().Address), attribute.Int("sluice.try", x.tries))
}

func (x *exchange) endSpan() { x.span.Answered(x.status, x.reason, x.status != 0 && !x.aborted) }
