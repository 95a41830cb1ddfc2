package tracing

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

// W3C's headers, as net/http spells them.
const (
	traceparent = "Traceparent"
	tracestate  = "Tracestate"
)

// carrier reads and writes W3C's headers. A request with two lines of traceparent has none that is valid; the lines of tracestate belong
// together (https://www.w3.org/TR/trace-context/#tracestate-header).
type carrier http.Header

// Get returns the value of a header.
func (c carrier) Get(key string) string {
	switch key {
	case "traceparent":
		if lines := c[traceparent]; len(lines) == 1 {
			return strings.TrimSpace(lines[0])
		}
	case "tracestate":
		if lines := c[tracestate]; len(lines) == 1 {
			return lines[0]
		} else if len(lines) > 1 {
			return strings.Join(lines, ",")
		}
	}
	return ""
}

// Set replaces a header.
func (c carrier) Set(key, value string) { http.Header(c).Set(key, value) }

// Keys is for propagation.TextMapCarrier.
func (c carrier) Keys() []string { return []string{"traceparent", "tracestate"} }

var w3c propagation.TraceContext
