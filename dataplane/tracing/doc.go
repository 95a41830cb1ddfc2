// Package tracing records OpenTelemetry spans of the request path, and hands them to an exporter.
//
// A Tracer is for one role of the data plane: gateway, activator or queue-proxy. Begin reads W3C's headers traceparent and tracestate
// (https://www.w3.org/TR/trace-context/) of a request, and replaces them by those of the span that it begins. A Tracer without a collector
// does nothing: the headers pass on as they came, and the cost is one comparison.
//
// Spans wait in a bounded queue. What does not fit in it is dropped and counted, so a request never waits for a collector.
//
// The package must not know protobuf, xDS or how requests are served: package otlp below speaks to collectors, discovery reads Envoy's
// configuration.
package tracing
