package tracing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"sluice.dev/sluice/model"
)

// sink is an Exporter that keeps spans. It fails as long as there are errors, and waits where one is errWait.
type sink struct {
	mu     sync.Mutex
	spans  []sdktrace.ReadOnlySpan
	calls  int
	errs   []error
	closed bool
}

var errWait = errors.New("wait for the context")

func (s *sink) Export(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	s.calls++
	var err error
	if len(s.errs) > 0 {
		err, s.errs = s.errs[0], s.errs[1:]
	} else {
		s.spans = append(s.spans, spans...)
	}
	s.mu.Unlock()
	if errors.Is(err, errWait) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

func (s *sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

var on = model.Tracing{Protocol: model.TracingGRPC, Endpoint: "http://collector:4317", SamplingRate: 1}

func tracer(to *sink, log hclog.Logger) *Tracer {
	return New(Options{Service: "test", Instance: "one", Exporter: func(model.Tracing) Exporter { return to }, Logger: log})
}

func request(headers http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://host:81/a%20b?password=secret", nil)
	if headers != nil {
		r.Header = headers
	}
	return r
}

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	callID  = "00f067aa0ba902b7"
)

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name             string
		sent             http.Header
		rate             float64
		recorded, parent bool
		passed           bool // as they came
		state            string
	}{
		{name: "no caller", sent: http.Header{}, rate: 1, recorded: true},
		{name: "sampled caller", sent: http.Header{"Traceparent": {"00-" + traceID + "-" + callID + "-01"}, "Tracestate": {"a=1"}},
			rate: 1e-6, recorded: true, parent: true, state: "a=1"},
		{name: "states on two lines",
			sent: http.Header{"Traceparent": {"00-" + traceID + "-" + callID + "-01"}, "Tracestate": {"a=1", "b=2"}}, rate: 1,
			recorded: true, parent: true, state: "a=1,b=2"},
		{name: "a state that is none", sent: http.Header{"Traceparent": {"00-" + traceID + "-" + callID + "-01"}, "Tracestate": {"a,b"}},
			rate: 1, recorded: true, parent: true},
		{name: "a newer version", sent: http.Header{"Traceparent": {"cc-" + traceID + "-" + callID + "-01-more"}}, rate: 1, recorded: true,
			parent: true},
		{name: "caller that does not sample",
			sent: http.Header{"Traceparent": {"00-" + traceID + "-" + callID + "-00"}, "Tracestate": {"a=1"}}, rate: 1, passed: true},
		{name: "two callers",
			sent: http.Header{"Traceparent": {"00-" + traceID + "-" + callID + "-01", "00-" + traceID + "-" + callID + "-01"},
				"Tracestate": {"a=1"}}, rate: 1, recorded: true},
		{name: "malformed", sent: http.Header{"Traceparent": {"00-" + traceID}, "Tracestate": {"a=1"}}, rate: 1, recorded: true},
		{name: "the version that is none", sent: http.Header{"Traceparent": {"ff-" + traceID + "-" + callID + "-01"}}, rate: 1,
			recorded: true},
		{name: "zeros", sent: http.Header{"Traceparent": {"00-00000000000000000000000000000000-" + callID + "-01"}}, rate: 1,
			recorded: true},
		{name: "capitals", sent: http.Header{"Traceparent": {"00-" + strings.ToUpper(traceID) + "-" + callID + "-01"}}, rate: 1,
			recorded: true},
		{name: "a state alone", sent: http.Header{"Tracestate": {"a=1"}}, rate: 1, recorded: true},
	} {
		to := &sink{}
		trace := tracer(to, nil)
		config := on
		config.SamplingRate = c.rate
		trace.Configure(config)
		r := request(c.sent.Clone())
		span := trace.Begin(r)
		span.Answered(200, "", true)
		trace.Close(t.Context())
		if c.passed {
			if diff := cmp.Diff(c.sent, r.Header); diff != "" {
				t.Errorf("%s: headers (-sent +passed on):\n%s", c.name, diff)
			}
		}
		if recorded := len(to.spans) == 1; recorded != c.recorded || span != nil != c.recorded {
			t.Errorf("%s: recorded %v, want %v", c.name, recorded, c.recorded)
			continue
		}
		if !c.recorded {
			continue
		}
		got := to.spans[0]
		own := got.SpanContext()
		if want := "00-" + own.TraceID().String() + "-" + own.SpanID().String() + "-0"; !strings.HasPrefix(r.Header.Get("Traceparent"),
			want) {
			t.Errorf("%s: traceparent %q, want %s…", c.name, r.Header.Get("Traceparent"), want)
		}
		if state := r.Header.Get("Tracestate"); state != c.state || len(r.Header["Tracestate"]) > 1 {
			t.Errorf("%s: tracestate %q, want %q", c.name, state, c.state)
		}
		if parent := own.TraceID().String() == traceID && got.Parent().SpanID().String() == callID; parent != c.parent {
			t.Errorf("%s: the caller is the parent: %v, want %v", c.name, parent, c.parent)
		}
	}
}

// A request that the rate leaves out carries the decision to those behind.
func TestDecisionGoesAlong(t *testing.T) {
	first, second := &sink{}, &sink{}
	edge, behind := tracer(first, nil), tracer(second, nil)
	config := on
	config.SamplingRate = 0.5
	edge.Configure(config)
	behind.Configure(on)
	const requests = 2000
	for range requests {
		r := request(nil)
		a := edge.Begin(r)
		b := behind.Begin(r)
		if (a == nil) != (b == nil) {
			t.Fatalf("one of two has a span of a request with traceparent %q", r.Header.Get("Traceparent"))
		}
		b.Answered(200, "", true)
		a.Answered(200, "", true)
	}
	edge.Close(t.Context())
	behind.Close(t.Context())
	if n := len(first.spans); n < requests*4/10 || n > requests*6/10 || len(second.spans) != n {
		t.Errorf("%d and %d of %d requests have spans, want about half, and equal numbers", n, len(second.spans), requests)
	}
}

func TestAttributes(t *testing.T) {
	to := &sink{}
	trace := tracer(to, nil)
	trace.Configure(on)
	r := request(http.Header{"User-Agent": {"agent/1"}, "X-Forwarded-Proto": {"https"}, "Authorization": {"Bearer secret"}})
	span := trace.Begin(r)
	span.Revision(model.Key{Namespace: "shop", Name: "cart-00001"})
	child := span.Child("wait", time.Now())
	child.End(errors.New("full"))
	span.Event("chosen", time.Time{})
	span.Answered(503, "queue full", true)
	strange := request(nil)
	strange.Method, strange.Header = strings.Repeat("X", 1000), http.Header{"User-Agent": {strings.Repeat("\xff", 1000)}}
	trace.Begin(strange).Answered(0, "", false)
	trace.Close(t.Context())

	type seen struct {
		Name, Status string
		Attributes   map[string]string
		Events       int
	}
	var got []seen
	for _, s := range to.spans {
		attributes := map[string]string{}
		for _, kv := range s.Attributes() {
			attributes[string(kv.Key)] = kv.Value.String()
		}
		got = append(got, seen{s.Name(), s.Status().Code.String() + s.Status().Description, attributes, len(s.Events())})
	}
	want := []seen{
		{"wait", "Errorfull", map[string]string{}, 0},
		{"GET", "Error", map[string]string{
			"http.request.method": "GET", "url.path": "/a%20b", "url.scheme": "https", "server.address": "host", "server.port": "81",
			"network.protocol.version": "1.1", "user_agent.original": "agent/1", "k8s.namespace.name": "shop",
			"kn.revision.name":          "cart-00001",
			"http.response.status_code": "503", "sluice.reason": "queue full", "error.type": "503",
		}, 1},
		{"HTTP", "Error", map[string]string{
			"http.request.method": "_OTHER", "http.request.method_original": strings.Repeat("X", 256), "url.path": "/a%20b",
			"url.scheme":     "http",
			"server.address": "host", "server.port": "81", "network.protocol.version": "1.1", "user_agent.original": "\uFFFD",
			"error.type": "aborted",
		}, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if to.spans[0].Parent().SpanID() != to.spans[1].SpanContext().SpanID() {
		t.Error("the request is not the parent of the wait")
	}
}

func TestOffCostsNothing(t *testing.T) {
	r := request(http.Header{"Traceparent": {"x"}})
	for name, trace := range map[string]*Tracer{"none": nil, "off": tracer(&sink{}, nil)} {
		if n := testing.AllocsPerRun(100, func() {
			span := trace.Begin(r)
			span.Child("wait", time.Time{}).End(nil)
			span.Answered(200, "", true)
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// many begins and ends spans.
func many(trace *Tracer, n int) {
	for range n {
		trace.Begin(request(nil)).Answered(200, "", true)
	}
}

func TestASlowCollectorCostsOnlySpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &sink{errs: []error{errWait, errWait, errWait, errWait}}
		var log bytes.Buffer
		trace := tracer(to, hclog.New(&hclog.LoggerOptions{Output: &log}))
		trace.Configure(on)
		began := time.Now()
		many(trace, 5000)
		if time.Since(began) > 0 {
			t.Errorf("requests have waited for %v", time.Since(began))
		}
		synctest.Wait()
		// One batch is being sent, the queue is full.
		if dropped := trace.Dropped(); dropped < 5000-defaultQueue-2*batchSize || dropped > 5000-defaultQueue {
			t.Errorf("%d of 5000 spans were dropped", dropped)
		}
		time.Sleep(2 * logEvery) // all tries are over, and the rest was sent
		synctest.Wait()
		if n := uint64(len(to.spans)) + trace.Dropped(); n != 5000 {
			t.Errorf("%d spans were sent and %d dropped, want 5000 together", len(to.spans), trace.Dropped())
		}
		if n := strings.Count(log.String(), "spans were dropped"); n != 1 {
			t.Errorf("%d lines tell of dropped spans, want one:\n%s", n, log.String())
		}
		trace.Close(t.Context())
	})
}

func TestTries(t *testing.T) {
	failed := errors.New("away")
	for _, c := range []struct {
		errs         []error
		calls, spans int
		took         time.Duration // without the wait for a full batch
	}{
		{nil, 1, 1, 0},
		{[]error{failed, failed}, 3, 1, 3 * time.Second},
		{[]error{failed, failed, failed, failed}, 4, 0, 7 * time.Second},
		{[]error{Permanent{failed}}, 1, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			to := &sink{errs: c.errs}
			trace := tracer(to, nil)
			trace.Configure(on)
			many(trace, 1)
			time.Sleep(batchDelay + c.took)
			synctest.Wait()
			if to.calls != c.calls || len(to.spans) != c.spans || int(trace.Dropped()) != 1-c.spans {
				t.Errorf("%v: %d tries, %d spans sent, %d dropped; want %d tries and %d sent", c.errs, to.calls, len(to.spans),
					trace.Dropped(),
					c.calls, c.spans)
			}
			trace.Close(t.Context())
			if !to.closed {
				t.Error("the exporter was not closed")
			}
		})
	}
}

// What waits is sent when the configuration changes and at the end, but not for ever.
func TestEndOfAConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := &sink{}, &sink{errs: []error{errWait, errWait}}
		sinks := []*sink{old, next}
		trace := New(Options{Service: "test", Exporter: func(model.Tracing) Exporter {
			defer func() { sinks = sinks[1:] }()
			return sinks[0]
		}})
		trace.Configure(on)
		trace.Configure(on) // the same
		late := trace.Begin(request(nil))
		many(trace, 700)
		other := on
		other.Endpoint = "http://other:4317"
		trace.Configure(other)
		synctest.Wait()
		if len(old.spans) != 700 || !old.closed {
			t.Errorf("%d spans came to the old collector, want 700; closed: %v", len(old.spans), old.closed)
		}
		late.Answered(200, "", true) // its collector is gone
		many(trace, 700)
		began := time.Now()
		trace.Close(t.Context())
		if took := time.Since(began); took > flushWait {
			t.Errorf("the end took %v", took)
		}
		if !next.closed || trace.Dropped() != 1+700 {
			t.Errorf("closed: %v, %d spans dropped, want 701", next.closed, trace.Dropped())
		}
		if trace.Begin(request(nil)) != nil {
			t.Error("a span begins after the end")
		}
	})
}

func TestFromEnvironment(t *testing.T) {
	http := model.Tracing{Protocol: model.TracingHTTP, Endpoint: "http://c:4318/v1/traces", SamplingRate: 1}
	grpc := model.Tracing{Protocol: model.TracingGRPC, Endpoint: "http://c:4317", SamplingRate: 1}
	half := grpc
	half.SamplingRate = 0.5
	for _, c := range []struct {
		env  map[string]string
		want model.Tracing
		err  string
	}{
		{nil, model.Tracing{}, ""},
		{map[string]string{EnvEndpoint: "http://c:4318"}, http, ""},
		{map[string]string{EnvTracesEndpoint: "http://c:4318/v1/traces", EnvEndpoint: "http://other"}, http, ""},
		{map[string]string{EnvEndpoint: "http://c:4317", EnvProtocol: "grpc"}, grpc, ""},
		{map[string]string{EnvEndpoint: "http://c:4317", EnvProtocol: "http/protobuf", EnvTracesProtocol: "grpc"}, grpc, ""},
		{map[string]string{EnvEndpoint: "http://c:4317", EnvProtocol: "grpc", EnvSampler: SamplerParentRatio, EnvSamplerArg: "0.5"}, half,
			""},
		{map[string]string{EnvEndpoint: "http://c:4317", EnvProtocol: "grpc", EnvSampler: SamplerParentRatio}, grpc, ""},
		{map[string]string{EnvEndpoint: "http://c", EnvSampler: "always_off"}, model.Tracing{}, ""},
		{map[string]string{EnvEndpoint: "http://c", EnvExporter: "none"}, model.Tracing{}, ""},
		{map[string]string{EnvEndpoint: "http://c", EnvDisabled: "true"}, model.Tracing{}, ""},
		{map[string]string{EnvEndpoint: "http://c", EnvExporter: "zipkin"}, model.Tracing{}, EnvExporter},
		{map[string]string{EnvEndpoint: "http://c", EnvSampler: "always_on"}, model.Tracing{}, EnvSampler},
		{map[string]string{EnvEndpoint: "http://c", EnvSampler: SamplerParentRatio, EnvSamplerArg: "2"}, model.Tracing{}, EnvSamplerArg},
		{map[string]string{EnvEndpoint: "http://c", EnvProtocol: "http/json"}, model.Tracing{}, EnvTracesProtocol},
		{map[string]string{EnvTracesEndpoint: "c"}, model.Tracing{}, EnvTracesEndpoint},
	} {
		got, err := FromEnvironment(func(name string) string { return c.env[name] })
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %+v, %v; want %+v and an error with %q", c.env, got, err, c.want, c.err)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	for _, c := range []struct {
		name string
		rate float64
	}{{"off", 0}, {"rate=0.01", 0.01}, {"rate=1", 1}} {
		b.Run(c.name, func(b *testing.B) {
			trace := tracer(&sink{}, nil)
			if config := on; c.rate > 0 {
				config.SamplingRate = c.rate
				trace.opts.Exporter = func(model.Tracing) Exporter { return discard{} }
				trace.Configure(config)
			}
			r := request(nil)
			b.ReportAllocs()
			for b.Loop() {
				clear(r.Header)
				trace.Begin(r).Answered(200, "", true)
			}
			trace.Close(b.Context())
		})
	}
}

type discard struct{}

func (discard) Export(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Close()                                                {}
