package tracing

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sluice.dev/sluice/model"
)

// Span is one operation of a trace. A nil one, which is that of a request without spans, does nothing. A Span is for one goroutine at a
// time.
type Span struct {
	span   trace.Span
	ctx    context.Context
	tracer trace.Tracer
}

var serverKind = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}

// Begin begins the span of a request that has arrived, if it is to have one, and writes its identity into the headers of the request.
//
// The caller's traceparent decides: a request that it does not sample passes on with its headers as they are. Without a valid traceparent
// a trace begins here, at the sampling rate, and the decision goes along with the request. A tracestate without a valid traceparent is
// removed, as W3C says.
//
// Its attributes are OpenTelemetry's for HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). The query is not among them:
// it may hold secrets.
func (t *Tracer) Begin(r *http.Request) *Span {
	if t == nil {
		return nil
	}
	p := t.current.Load()
	if p == nil {
		return nil
	}
	headers := carrier(r.Header)
	ctx := w3c.Extract(context.Background(), headers)
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() && !parent.IsSampled() {
		return nil
	}
	method := knownMethod(r.Method)
	name := method
	if method == otherMethod {
		name = "HTTP"
	}
	ctx, span := p.tracer.Start(ctx, name, serverKind...)
	delete(r.Header, tracestate)
	w3c.Inject(ctx, headers)
	if !span.IsRecording() {
		return nil
	}
	span.SetAttributes(requestAttributes(r, method)...)
	return &Span{span: span, ctx: ctx, tracer: p.tracer}
}

// otherMethod stands for methods that are not among those of RFC 9110 and RFC 5789, of which clients can invent many.
const otherMethod = "_OTHER"

func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect,
		http.MethodOptions, http.MethodTrace:
		return method
	}
	return otherMethod
}

func requestAttributes(r *http.Request, method string) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	attributes := append(make([]attribute.KeyValue, 0, 12),
		attribute.String("http.request.method", method),
		attribute.String("url.path", text(r.URL.EscapedPath())),
		attribute.String("url.scheme", scheme(r)),
		attribute.String("server.address", text(host)),
		attribute.String("network.protocol.version", version(r)),
	)
	if n, err := strconv.Atoi(port); err == nil {
		attributes = append(attributes, attribute.Int("server.port", n))
	}
	if method == otherMethod {
		attributes = append(attributes, attribute.String("http.request.method_original", text(r.Method)))
	}
	if agent := r.Header["User-Agent"]; len(agent) == 1 {
		attributes = append(attributes, attribute.String("user_agent.original", text(agent[0])))
	}
	return attributes
}

// longest is how many bytes of a text of a client go into a span.
const longest = 256

// text bounds what a client has sent, and makes it valid for protobuf.
func text(s string) string {
	if len(s) > longest {
		s = s[:longest]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// scheme is the one that the client used at the gateway.
func scheme(r *http.Request) string {
	if r.TLS != nil || len(r.Header["X-Forwarded-Proto"]) == 1 && r.Header["X-Forwarded-Proto"][0] == "https" {
		return "https"
	}
	return "http"
}

func version(r *http.Request) string {
	if r.ProtoMajor == 2 {
		return "2"
	}
	return strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor)
}

// Revision says which revision the request is for, in the attributes that Knative has for it.
func (s *Span) Revision(key model.Key) {
	if s != nil {
		s.span.SetAttributes(attribute.String("k8s.namespace.name", key.Namespace), attribute.String("kn.revision.name", key.Name))
	}
}

// Set adds attributes.
func (s *Span) Set(attributes ...attribute.KeyValue) {
	if s != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Event records that something happened. A time of zero is now.
func (s *Span) Event(name string, at time.Time, attributes ...attribute.KeyValue) {
	if s == nil {
		return
	}
	options := []trace.EventOption{trace.WithAttributes(attributes...)}
	if !at.IsZero() {
		options = append(options, trace.WithTimestamp(at))
	}
	s.span.AddEvent(name, options...)
}

// Child begins a span within this one, for something that the same process does.
func (s *Span) Child(name string, began time.Time) *Span {
	if s == nil {
		return nil
	}
	_, span := s.tracer.Start(s.ctx, name, trace.WithTimestamp(began))
	return &Span{span: span, tracer: s.tracer}
}

// End ends a span of something that is no request, with what went wrong, if anything did.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Answered ends the span of a request. The status is that of its response, 0 where there was none. reason says why one of our processes
// answered in place of the application; it may be empty. Without whole, the client did not get all of the response: it went away, or the
// response was cut off. As OpenTelemetry says for servers, only that and a status from 500 on is an error.
func (s *Span) Answered(status int, reason string, whole bool) {
	if s == nil {
		return
	}
	if status > 0 {
		s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if reason != "" {
		s.span.SetAttributes(attribute.String("sluice.reason", reason))
	}
	switch {
	case !whole:
		s.span.SetAttributes(attribute.String("error.type", "aborted"))
		s.span.SetStatus(codes.Error, "")
	case status >= http.StatusInternalServerError:
		s.span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}
