package otlp

import (
	"encoding/binary"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message that is being written.
type message []byte

func (m *message) text(field protowire.Number, s string) {
	if s != "" {
		*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), s)
	}
}

func (m *message) bytes(field protowire.Number, b []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), b)
}

func (m *message) number(field protowire.Number, n uint64) {
	if n != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), n)
	}
}

func (m *message) fixed(field protowire.Number, n uint64) {
	*m = protowire.AppendFixed64(protowire.AppendTag(*m, field, protowire.Fixed64Type), n)
}

func (m *message) time(field protowire.Number, t time.Time) { m.fixed(field, uint64(t.UnixNano())) }

// message writes a message within this one.
func (m *message) message(field protowire.Number, write func(*message)) {
	var inner message
	write(&inner)
	m.bytes(field, inner)
}

// encode returns spans as an ExportTraceServiceRequest of OTLP 1 (opentelemetry/proto/collector/trace/v1/trace_service.proto). All are of
// one Tracer, and so have one resource and one scope. The numbers are those of the fields.
func encode(spans []sdktrace.ReadOnlySpan) []byte {
	var request message
	request.message(1, func(resourceSpans *message) {
		resourceSpans.message(1, func(resource *message) { resource.attributes(1, spans[0].Resource().Attributes()) })
		resourceSpans.message(2, func(scopeSpans *message) {
			scopeSpans.message(1, func(scope *message) { scope.text(1, spans[0].InstrumentationScope().Name) })
			for _, s := range spans {
				scopeSpans.message(2, func(m *message) { m.span(s) })
			}
		})
	})
	return request
}

// Bits of Span.flags beside those of W3C: whether the parent is of another process, and that it is known.
const (
	hasIsRemote = 0x100
	isRemote    = 0x200
)

// span writes a Span.
func (m *message) span(s sdktrace.ReadOnlySpan) {
	own, parent := s.SpanContext(), s.Parent()
	traceID, spanID := own.TraceID(), own.SpanID()
	m.bytes(1, traceID[:])
	m.bytes(2, spanID[:])
	m.text(3, own.TraceState().String())
	flags := uint32(own.TraceFlags()) | hasIsRemote
	if parent.HasSpanID() {
		parentID := parent.SpanID()
		m.bytes(4, parentID[:])
		if parent.IsRemote() {
			flags |= isRemote
		}
	}
	m.text(5, s.Name())
	m.number(6, kind(s.SpanKind()))
	m.time(7, s.StartTime())
	m.time(8, s.EndTime())
	m.attributes(9, s.Attributes())
	m.number(10, uint64(s.DroppedAttributes()))
	for _, e := range s.Events() {
		m.message(11, func(event *message) {
			event.time(1, e.Time)
			event.text(2, e.Name)
			event.attributes(3, e.Attributes)
		})
	}
	m.number(12, uint64(s.DroppedEvents()))
	m.message(15, func(to *message) {
		to.text(2, s.Status().Description)
		to.number(3, statusCode(s.Status().Code))
	})
	*m = binary.LittleEndian.AppendUint32(protowire.AppendTag(*m, 16, protowire.Fixed32Type), flags)
}

// kind is Span.SpanKind: unspecified, internal, server, client, producer, consumer.
func kind(k trace.SpanKind) uint64 {
	switch k {
	case trace.SpanKindServer:
		return 2
	case trace.SpanKindClient:
		return 3
	case trace.SpanKindProducer:
		return 4
	case trace.SpanKindConsumer:
		return 5
	}
	return 1
}

// statusCode is Status.StatusCode: unset, ok, error.
func statusCode(c codes.Code) uint64 {
	switch c {
	case codes.Ok:
		return 1
	case codes.Error:
		return 2
	}
	return 0
}

// attributes writes KeyValues of a repeated field. Lists, of which there are none, become texts.
func (m *message) attributes(field protowire.Number, all []attribute.KeyValue) {
	for _, kv := range all {
		m.message(field, func(pair *message) {
			pair.text(1, string(kv.Key))
			pair.message(2, func(value *message) { value.any(kv.Value) })
		})
	}
}

// any writes an AnyValue, whose fields are written even where they are zero.
func (m *message) any(v attribute.Value) {
	switch v.Type() {
	case attribute.BOOL:
		*m = protowire.AppendVarint(protowire.AppendTag(*m, 2, protowire.VarintType), protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		*m = protowire.AppendVarint(protowire.AppendTag(*m, 3, protowire.VarintType), uint64(v.AsInt64()))
	default:
		m.bytes(1, []byte(v.Emit()))
	}
}
