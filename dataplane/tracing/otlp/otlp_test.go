package otlp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/collector"
)

// some are spans with everything that a Tracer records.
func some() []sdktrace.ReadOnlySpan {
	at := time.Unix(1_700_000_000, 123_456_789)
	state, _ := trace.ParseTraceState("a=1,b=2")
	context := func(id byte, remote bool) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: remote,
		})
	}
	from := resource.NewSchemaless(attribute.String("service.name", "activator"), attribute.Int("n", 0))
	scope := instrumentation.Scope{Name: "sluice.dev/sluice"}
	return tracetest.SpanStubs{
		{
			Name: "GET", SpanContext: context(1, false), Parent: context(9, true), SpanKind: trace.SpanKindServer, StartTime: at,
			EndTime: at.Add(time.Second), Resource: from, InstrumentationScope: scope,
			Attributes: []attribute.KeyValue{
				attribute.String("url.path", "/a b/\u00e9"), attribute.String("empty", ""), attribute.Int("status", 503),
				attribute.Bool("no", false),
				attribute.Bool("yes", true), attribute.Int("negative", -1),
			},
			Events: []sdktrace.Event{
				{Name: "replica chosen", Time: at.Add(time.Millisecond), Attributes: []attribute.KeyValue{attribute.Int("try", 1)}},
				{Name: "", Time: at},
			},
			Status:            sdktrace.Status{Code: codes.Error, Description: "because"},
			DroppedAttributes: 2, DroppedEvents: 3,
		},
		{Name: "wait", SpanContext: context(2, false), Parent: context(1, false), SpanKind: trace.SpanKindInternal, StartTime: at,
			EndTime: at, Resource: from, InstrumentationScope: scope, Status: sdktrace.Status{Code: codes.Ok}},
		{Name: "root", SpanContext: context(3, false), SpanKind: trace.SpanKindClient, StartTime: at, EndTime: at, Resource: from,
			InstrumentationScope: scope},
	}.Snapshots()
}

// theirs is the client of OpenTelemetry's exporter: it keeps what that would send.
type theirs struct{ got []*tracepb.ResourceSpans }

func (*theirs) Start(context.Context) error { return nil }
func (*theirs) Stop(context.Context) error  { return nil }
func (c *theirs) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	c.got = spans
	return nil
}

// The encoding is that of OpenTelemetry's own exporter.
func TestEncodingIsOpenTelemetrys(t *testing.T) {
	want := &theirs{}
	if err := otlptrace.NewUnstarted(want).ExportSpans(t.Context(), some()); err != nil {
		t.Fatal(err)
	}
	var got collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(encode(some()), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.got, got.ResourceSpans, protocmp.Transform()); diff != "" {
		t.Errorf("(-OpenTelemetry +ours):\n%s", diff)
	}
}

func TestExport(t *testing.T) {
	to := collector.New(t)
	for _, config := range []model.Tracing{
		{Protocol: model.TracingGRPC, Endpoint: "http://" + to.GRPC},
		{Protocol: model.TracingHTTP, Endpoint: "http://" + to.HTTP + "/v1/traces"},
	} {
		before := len(to.Spans())
		c := New(config)
		for range 3 {
			if err := c.Export(t.Context(), some()); err != nil {
				t.Errorf("%s: %v", config.Protocol, err)
			}
		}
		c.Close()
		if n := len(to.Spans()) - before; n != 9 {
			t.Errorf("%s: %d spans have come, want 9", config.Protocol, n)
		}
	}
}

// refusing answers each Export with one status.
type refusing struct {
	collectorpb.UnimplementedTraceServiceServer
	code grpccodes.Code
}

func (r *refusing) Export(context.Context, *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	return nil, status.Error(r.code, "not now")
}

func TestWhatACollectorRefuses(t *testing.T) {
	service := &refusing{}
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, service)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	byGRPC := New(model.Tracing{Protocol: model.TracingGRPC, Endpoint: "http://" + l.Addr().String()})
	defer byGRPC.Close()
	for code, permanent := range map[grpccodes.Code]bool{
		grpccodes.Unavailable: false, grpccodes.ResourceExhausted: false, grpccodes.InvalidArgument: true, grpccodes.Unauthenticated: true,
	} {
		service.code = code
		refused(t, code.String(), byGRPC.Export(t.Context(), some()), "not now", permanent)
	}

	answer := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) }))
	defer web.Close()
	byHTTP := New(model.Tracing{Protocol: model.TracingHTTP, Endpoint: web.URL + "/v1/traces"})
	defer byHTTP.Close()
	for status, permanent := range map[int]bool{429: false, 503: false, 400: true, 401: true, 301: true} {
		answer = status
		refused(t, http.StatusText(status), byHTTP.Export(t.Context(), some()), http.StatusText(status), permanent)
	}
	web.Close()
	refused(t, "no connection", byHTTP.Export(t.Context(), some()), "sending spans", false)
}

func refused(t *testing.T, what string, err error, want string, permanent bool) {
	t.Helper()
	var p tracing.Permanent
	if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, &p) != permanent {
		t.Errorf("%s: error %v (permanent %v), want %q (permanent %v)", what, err, errors.As(err, &p), want, permanent)
	}
}

func BenchmarkEncode(b *testing.B) {
	spans := some()[:1]
	b.ReportAllocs()
	for b.Loop() {
		encode(spans)
	}
}
