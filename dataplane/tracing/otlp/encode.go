package otlp

import (
	"encoding/binary"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The types of protobuf's wire format that are needed here (https://protobuf.dev/programming-guides/encoding/).
const (
	varint  = 0
	fixed64 = 1
	length  = 2
	fixed32 = 5
)

// message is a protobuf message that is being written.
type message []byte

func (m *message) tag(field, wireType uint64) { *m = binary.AppendUvarint(*m, field<<3|wireType) }

func (m *message) bytes(field uint64, b []byte) {
	m.tag(field, length)
	*m = append(binary.AppendUvarint(*m, uint64(len(b))), b...)
}

func (m *message) text(field uint64, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

func (m *message) varint(field, n uint64) {
	m.tag(field, varint)
	*m = binary.AppendUvarint(*m, n)
}

func (m *message) number(field, n uint64) {
	if n != 0 {
		m.varint(field, n)
	}
}

func (m *message) time(field uint64, t time.Time) {
	m.tag(field, fixed64)
	*m = binary.LittleEndian.AppendUint64(*m, uint64(t.UnixNano()))
}

// message writes a message within this one.
func (m *message) message(field uint64, write func(*message)) {
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
	m.tag(16, fixed32)
	*m = binary.LittleEndian.AppendUint32(*m, flags)
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
func (m *message) attributes(field uint64, all []attribute.KeyValue) {
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
		bit := uint64(0)
		if v.AsBool() {
			bit = 1
		}
		m.varint(2, bit)
	case attribute.INT64:
		m.varint(3, uint64(v.AsInt64()))
	default:
		m.bytes(1, []byte(v.String()))
	}
}
