package feature

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/test/collector"
)

// inEnvironment has the binary run with further environment variables.
func (s *instance) inEnvironment(variables ...string) {
	s.run = func(dir string, output io.WriteCloser, args []string) (program, error) {
		defer output.Close() // the process has its own
		cmd := exec.Command(sluiceBinary, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, output, output, append(os.Environ(), variables...)
		return binary{cmd}, cmd.Start()
	}
}

// upTraced starts `sluice up` with a collector of traces, and services: "cold" has no replica, "direct" has one that no activator is before,
// and "activated" one that requests reach by an activator.
func (g gateway) upTraced(t *testing.T, variables ...string) *instance {
	t.Helper()
	s := g.prepare(t, "--config", zeroInitialScale(t))
	s.inEnvironment(variables...)
	s.start()
	t.Cleanup(func() { s.stop() })
	s.create(
		newApp(t, "cold", map[string]string{autoscaling + "initial-scale": "0"}),
		newApp(t, "direct", map[string]string{autoscaling + "target-burst-capacity": "0", autoscaling + "min-scale": "1"}),
		newApp(t, "activated", map[string]string{autoscaling + "target-burst-capacity": "-1", autoscaling + "min-scale": "1"}),
	)
	return s
}

const (
	traceOfCaller = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanOfCaller  = "00f067aa0ba902b7"
)

// TestOneRequestIsOneTrace sends requests through everything, and looks at their spans in a collector.
func TestOneRequestIsOneTrace(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			onEachGateway(t, func(t *testing.T, g gateway) {
				to := collector.New(t)
				endpoint := map[string]string{"grpc": to.GRPC, "http/protobuf": to.HTTP}[protocol]
				s := g.upTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
				s.coldTrace(to)
				s.path(to, s.withoutActivator(to, "direct.default.localhost"), "", "gateway", "queue-proxy")

				got, err := s.traced("activated.default.localhost", http.Header{
					"Traceparent": {"00-" + traceOfCaller + "-" + spanOfCaller + "-01"}, "Tracestate": {"a=1", "b=2"}, "Baggage": {"k=v"},
				})
				if err != nil {
					t.Fatal(err)
				}
				s.path(to, got, spanOfCaller, "gateway", "activator", "queue-proxy")
				if state := strings.ReplaceAll(got.Get("Tracestate"), " ", ""); state != "a=1,b=2" || got.Get("Baggage") != "k=v" {
					t.Errorf("the application got tracestate %q and baggage %q", state, got.Get("Baggage"))
				}
				s.notSampled(to)
				s.malformed(to)
			})
		})
	}
}

// coldTrace wakes a service, and checks that the wait is in its trace.
func (s *instance) coldTrace(to *collector.Collector) {
	s.t.Helper()
	got, err := s.traced("cold.default.localhost", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	cold := s.path(to, got, "", "gateway", "activator", "queue-proxy")
	wait := find(cold, "activator", "INTERNAL")
	if wait.Name != "wait for a replica" || wait.Parent != find(cold, "activator", "SERVER").ID ||
		wait.Attributes["sluice.cold_start"] != "true" || !slices.Contains(wait.Events, "it was ready") {
		s.t.Errorf("the wait for a replica is %+v", wait)
	}
	if chosen := find(cold, "activator", "SERVER").Events; !slices.Contains(chosen, "replica chosen") {
		s.t.Errorf("the events of the activator are %v", chosen)
	}
}

// TestACollectorOverTLS is reached by its name, and trusted by the authorities of the system.
func TestACollectorOverTLS(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			onEachGateway(t, func(t *testing.T, g gateway) {
				trusted := authority.New(t)
				chain, key := trusted.Sign("localhost")
				pair, err := tls.X509KeyPair(chain, key)
				if err != nil {
					t.Fatal(err)
				}
				to := collector.NewTLS(t, pair)
				_, port, _ := net.SplitHostPort(map[string]string{"grpc": to.GRPC, "http/protobuf": to.HTTP}[protocol])
				s := g.upTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT=https://localhost:"+port, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
					"SSL_CERT_FILE="+trusted.File)
				s.coldTrace(to)
			})
		})
	}
}

// withoutActivator sends requests until one reaches its replica without an activator, and returns the headers that the application got.
func (s *instance) withoutActivator(to *collector.Collector, host string) (got http.Header) {
	s.t.Helper()
	eventually(s.t, host+" is reached without an activator", func() (err error) {
		if got, err = s.traced(host, nil); err != nil {
			return err
		}
		_, rest, _ := strings.Cut(got.Get("Traceparent"), "-")
		trace, _, _ := strings.Cut(rest, "-")
		activated := false
		to.Await(s.t, patience, func(all []collector.Span) bool {
			spans := slices.DeleteFunc(all, func(s collector.Span) bool { return s.Trace != trace })
			proxy := find(spans, "queue-proxy", "SERVER")
			activated = proxy.Parent != find(spans, "gateway", "SERVER").ID
			return proxy.ID != "" && find(spans, "gateway", "SERVER").ID != ""
		})
		if activated {
			return errors.New("an activator was in between")
		}
		return nil
	})
	return got
}

// path checks that the trace which the application saw is one of these services, each the parent of the next one. It returns its spans.
func (s *instance) path(to *collector.Collector, got http.Header, parent string, services ...string) []collector.Span {
	s.t.Helper()
	_, rest, _ := strings.Cut(got.Get("Traceparent"), "-")
	trace, rest, _ := strings.Cut(rest, "-")
	last, flags, _ := strings.Cut(rest, "-")
	if flags != "01" && flags != "03" {
		s.t.Fatalf("the application got traceparent %q, want one that is sampled", got.Get("Traceparent"))
	}
	var spans []collector.Span
	to.Await(s.t, patience, func(all []collector.Span) bool {
		spans = slices.DeleteFunc(all, func(s collector.Span) bool { return s.Trace != trace })
		return !slices.ContainsFunc(services, func(service string) bool { return find(spans, service, "SERVER").ID == "" })
	})
	for _, service := range services {
		span := find(spans, service, "SERVER")
		if span.Parent != parent {
			s.t.Errorf("the parent of the %s is %q, want %q; the spans are %+v", service, span.Parent, parent, spans)
		}
		if span.Attributes["http.request.method"] != "GET" || span.Attributes["kn.revision.name"] == "" || span.Failed {
			s.t.Errorf("the span of the %s is %+v", service, span)
		}
		if text := fmt.Sprint(span); strings.Contains(text, "secret") {
			s.t.Errorf("the span of the %s has the query: %s", service, text)
		}
		parent = span.ID
	}
	if last != parent {
		s.t.Errorf("the application got traceparent %q, want the span of the %s, %s", got.Get("Traceparent"), services[len(services)-1],
			parent)
	}
	if servers := len(slices.DeleteFunc(slices.Clone(spans),
		func(s collector.Span) bool { return s.Kind != "SERVER" })); servers != len(services) {
		s.t.Errorf("%d spans of requests have come, want those of %v: %+v", servers, services, spans)
	}
	return spans
}

func find(spans []collector.Span, service, kind string) collector.Span {
	for _, s := range spans {
		if s.Service == service && s.Kind == kind {
			return s
		}
	}
	return collector.Span{}
}

// notSampled checks that a caller who does not sample gets no spans. Envoy puts itself into the traceparent nevertheless, as the
// specification allows.
func (s *instance) notSampled(to *collector.Collector) {
	s.t.Helper()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4737"
	for _, host := range []string{"direct", "activated"} {
		got, err := s.traced(host+".default.localhost", http.Header{"Traceparent": {"00-" + trace + "-" + spanOfCaller + "-00"}})
		if err != nil {
			s.t.Fatal(err)
		}
		if parent := got.Get("Traceparent"); !strings.HasPrefix(parent, "00-"+trace+"-") || !strings.HasSuffix(parent, "-00") {
			s.t.Errorf("%s got traceparent %q", host, parent)
		}
	}
	s.flush(to)
	for _, span := range to.Spans() {
		if span.Trace == trace {
			s.t.Errorf("a caller does not sample, and this span came: %+v", span)
		}
	}
}

// malformed checks that a request with a traceparent that is none is served, and begins a trace of its own.
func (s *instance) malformed(to *collector.Collector) {
	s.t.Helper()
	for _, lines := range [][]string{
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, {"ff-" + traceOfCaller + "-" + spanOfCaller + "-01"},
		{"00-" + traceOfCaller + "-0000000000000000-01"}, {"what?"}, {""},
		{"00-" + strings.ToUpper(traceOfCaller) + "-" + spanOfCaller + "-01"},
	} {
		got, err := s.traced("activated.default.localhost", http.Header{"Traceparent": lines, "Tracestate": {"a=1"}})
		if err != nil {
			s.t.Fatal(err)
		}
		if got.Get("Traceparent") == lines[0] {
			s.t.Errorf("traceparent %q was passed on", lines)
		}
		_, rest, _ := strings.Cut(got.Get("Traceparent"), "-")
		trace, _, _ := strings.Cut(rest, "-")
		to.Await(s.t, patience, func(all []collector.Span) bool {
			return slices.ContainsFunc(all, func(s collector.Span) bool { return s.Trace == trace && s.Service == "queue-proxy" })
		})
	}
}

// flush waits until a later request's spans have come from everybody, so that those of earlier ones have.
func (s *instance) flush(to *collector.Collector) {
	s.t.Helper()
	got, err := s.traced("activated.default.localhost", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.path(to, got, "", "gateway", "activator", "queue-proxy")
}

// TestWithoutSamplingNothingChanges has a collector and a rate of 0.
func TestWithoutSamplingNothingChanges(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		to := collector.New(t)
		s := g.upTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+to.HTTP, "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
			"OTEL_TRACES_SAMPLER_ARG=0")
		for _, host := range []string{"cold", "direct", "activated"} {
			for _, sent := range []http.Header{
				{}, {"Traceparent": {"00-" + traceOfCaller + "-" + spanOfCaller + "-01"}, "Tracestate": {"a=1"}},
				{"Traceparent": {"what?"}},
			} {
				got, err := s.traced(host+".default.localhost", sent)
				if err != nil || fmt.Sprint(got) != fmt.Sprint(sent) {
					t.Errorf("%s got %v, want %v; %v", host, got, sent, err)
				}
			}
		}
		s.stop() // sends what there is
		if spans := to.Spans(); len(spans) > 0 {
			t.Errorf("spans have come: %+v", spans)
		}
	})
}

// TestACollectorThatIsAwayCostsOnlySpans has one address that refuses connections, and one that takes them and never answers.
func TestACollectorThatIsAwayCostsOnlySpans(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			onEachGateway(t, func(t *testing.T, g gateway) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				if protocol == "grpc" {
					_ = l.Close()
				}
				t.Cleanup(func() { _ = l.Close() })
				s := g.upTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
				s.envoy = false // Envoy has reason to complain
				for _, host := range []string{"cold", "activated", "direct"} {
					for range 50 {
						if _, err := s.traced(host+".default.localhost", nil); err != nil {
							t.Fatalf("%s: %v", host, err)
						}
					}
				}
				eventually(t, "spans are counted as dropped", func() error {
					_, page, err := s.admined("/metrics")
					if err != nil {
						return err
					}
					for line := range strings.Lines(page) {
						if n, ok := strings.CutPrefix(line, "sluice_activator_spans_dropped_total "); ok && strings.TrimSpace(n) != "0" {
							return nil
						}
					}
					return fmt.Errorf("no span is counted as dropped")
				})
				if n := strings.Count(s.printed(), "spans were dropped"); n > 3 {
					t.Errorf("%d lines say that spans were dropped, want one of each role", n)
				}
			})
		})
	}
}
