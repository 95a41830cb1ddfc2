// Package collector is an OpenTelemetry collector for tests: it takes spans over gRPC and over HTTP, by the protos of OTLP, and keeps
// them.
package collector

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// Span is a span that has come.
type Span struct {
	// Service is service.name of the resource, Resource has all of its attributes.
	Service  string
	Resource map[string]string
	// Name and Kind (SERVER, INTERNAL …) are the span's.
	Name, Kind string
	// Trace, ID and Parent are in hex; Parent is empty for the root.
	Trace, ID, Parent, State string
	Start, End               time.Time
	// Attributes are the span's, as texts.
	Attributes map[string]string
	// Events are the names of what happened, in order, and Failed says that the status is an error.
	Events []string
	Failed bool
}

// Collector takes spans until the test ends.
type Collector struct {
	// GRPC and HTTP are its addresses, host:port.
	GRPC, HTTP string

	collectorpb.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []Span
	came  chan struct{} // holds a token when spans have come
}

// New starts a collector.
func New(t testing.TB) *Collector {
	t.Helper()
	return start(t, nil)
}

// NewTLS starts a collector that has a certificate.
func NewTLS(t testing.TB, certificate tls.Certificate) *Collector {
	t.Helper()
	return start(t, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
}

func start(t testing.TB, secure *tls.Config) *Collector {
	t.Helper()
	c := &Collector{came: make(chan struct{}, 1)}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	byGRPC, byHTTP := listen(), listen()
	c.GRPC, c.HTTP = byGRPC.Addr().String(), byHTTP.Addr().String()
	var options []grpc.ServerOption
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
		byHTTP = tls.NewListener(byHTTP, secure)
	}
	server := grpc.NewServer(options...)
	collectorpb.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(byGRPC) }() // until Stop
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.post)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(byHTTP) }() // until Close
	t.Cleanup(func() {
		server.Stop()
		_ = web.Close()
	})
	return c
}

// Export takes spans by gRPC.
func (c *Collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.take(r)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func (c *Collector) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collectorpb.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "want an ExportTraceServiceRequest as application/x-protobuf", http.StatusBadRequest)
		return
	}
	c.take(request)
	w.Header().Set("Content-Type", "application/x-protobuf") // and an empty message
}

func (c *Collector) take(r *collectorpb.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range r.GetResourceSpans() {
		resource := texts(from.GetResource().GetAttributes())
		for _, scope := range from.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s, resource))
			}
		}
	}
	select {
	case c.came <- struct{}{}:
	default:
	}
}

func spanOf(s *tracepb.Span, resource map[string]string) Span {
	span := Span{
		Service: resource["service.name"], Resource: resource,
		Name: s.GetName(), Kind: strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"),
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		State: s.GetTraceState(),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes: texts(s.GetAttributes()), Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
	}
	for _, e := range s.GetEvents() {
		span.Events = append(span.Events, e.GetName())
	}
	return span
}

func texts(attributes []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range attributes {
		all[kv.GetKey()] = text(kv.GetValue())
	}
	return all
}

// text is an AnyValue as protobuf writes it, without the name of its field.
func text(v *commonpb.AnyValue) string {
	if s, ok := v.GetValue().(*commonpb.AnyValue_StringValue); ok {
		return s.StringValue
	}
	_, value, _ := strings.Cut(v.String(), ":")
	return strings.TrimSpace(value)
}

// Spans are those that have come so far, in that order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Await waits until the spans of a trace are enough, and returns them by service. It fails the test after patience.
func (c *Collector) Await(t testing.TB, patience time.Duration, enough func([]Span) bool) []Span {
	t.Helper()
	deadline := time.After(patience)
	for {
		if all := c.Spans(); enough(all) {
			return all
		}
		select {
		case <-c.came:
		case <-deadline:
			t.Fatalf("these spans came within %v, and they are not enough: %+v", patience, c.Spans())
		}
	}
}
