package model

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// TracingProtocol is how spans are sent to a collector (https://opentelemetry.io/docs/specs/otlp/).
type TracingProtocol string

// The protocols; the empty one means that no spans are recorded.
const (
	// TracingGRPC is OTLP over gRPC, by custom at port 4317.
	TracingGRPC TracingProtocol = "grpc"
	// TracingHTTP is OTLP over HTTP with protobuf, by custom at port 4318.
	TracingHTTP TracingProtocol = "http/protobuf"
)

// tracingPath is where a collector takes spans over HTTP when its address has no path, by the specification of OTLP.
const tracingPath = "/v1/traces"

// Tracing says which requests get spans, and where gateways, activators and queue-proxies send them. The zero value means that there are
// none. ParseTracing makes one.
type Tracing struct {
	// Protocol is how they are sent.
	Protocol TracingProtocol
	// Endpoint is the URL of the collector, with a port. With TracingGRPC it has no path.
	Endpoint string
	// SamplingRate is the part of the requests without a traceparent that get spans, over 0 and up to 1. Those with a traceparent get spans
	// when it says so.
	SamplingRate float64
}

// On says whether there are spans.
func (t Tracing) On() bool { return t.Protocol != "" }

// Secure says that the collector is reached over TLS.
func (t Tracing) Secure() bool { return strings.HasPrefix(t.Endpoint, "https://") }

// Server is scheme://host:port of the collector.
func (t Tracing) Server() string {
	u, err := url.Parse(t.Endpoint)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// ParseTracing reads the address of a collector and a sampling rate, and completes the address with the port and path that OTLP defines.
// A rate of 0 switches spans off: the result is then the zero value.
//
// As in Knative, an address without a scheme, host:port, is one with https. The error says what would be right.
func ParseTracing(protocol TracingProtocol, endpoint string, rate float64) (Tracing, error) {
	ports := map[TracingProtocol]string{TracingGRPC: "4317", TracingHTTP: "4318"}
	port, ok := ports[protocol]
	if !ok {
		return Tracing{}, fmt.Errorf("the protocol is %q, want %s or %s", protocol, TracingGRPC, TracingHTTP)
	}
	if !(rate >= 0 && rate <= 1) { // so that it is false for NaN
		return Tracing{}, fmt.Errorf("the sampling rate is %v, want a number from 0 to 1", rate)
	}
	u, err := collectorURL(endpoint)
	if err != nil {
		return Tracing{}, err
	}
	if u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":") + ":" + port
	}
	if path := strings.TrimSuffix(u.Path, "/"); protocol == TracingGRPC {
		if path != "" {
			return Tracing{}, fmt.Errorf("%q has a path, which OTLP over gRPC has not", endpoint)
		}
		u.Path = ""
	} else if path == "" {
		u.Path = tracingPath
	}
	if rate == 0 {
		return Tracing{}, nil
	}
	return Tracing{Protocol: protocol, Endpoint: u.String(), SamplingRate: rate}, nil
}

var errCollector = errors.New("want the URL of a collector, such as http://collector.observability:4317")

func collectorURL(endpoint string) (*url.URL, error) {
	complete := endpoint
	if !strings.Contains(endpoint, "://") {
		complete = "https://" + endpoint
	}
	u, err := url.Parse(complete)
	switch {
	case err != nil, complete != endpoint && u.Port() == "", u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, fmt.Errorf("the endpoint is %q, %w", endpoint, errCollector)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		// Whoever reads the configuration of a gateway or of a pod would read the password too.
		return nil, errors.New("the endpoint has a password, a query or a fragment: want a URL without them")
	}
	return u, nil
}
