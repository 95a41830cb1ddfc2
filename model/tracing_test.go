package model

import (
	"math"
	"strings"
	"testing"
)

func TestParseTracing(t *testing.T) {
	for _, c := range []struct {
		protocol       TracingProtocol
		endpoint       string
		want, atServer string // of the result
	}{
		{TracingGRPC, "http://collector.observability:4317", "http://collector.observability:4317", "http://collector.observability:4317"},
		{TracingGRPC, "http://collector/", "http://collector:4317", "http://collector:4317"},
		{TracingGRPC, "collector:1234", "https://collector:1234", "https://collector:1234"},
		{TracingGRPC, "https://[2001:db8::1]", "https://[2001:db8::1]:4317", "https://[2001:db8::1]:4317"},
		{TracingHTTP, "http://collector", "http://collector:4318/v1/traces", "http://collector:4318"},
		{TracingHTTP, "http://10.0.0.9:4318/", "http://10.0.0.9:4318/v1/traces", "http://10.0.0.9:4318"},
		{TracingHTTP, "https://c.example/otlp/traces", "https://c.example:4318/otlp/traces", "https://c.example:4318"},
	} {
		got, err := ParseTracing(c.protocol, c.endpoint, 0.5)
		want := Tracing{Protocol: c.protocol, Endpoint: c.want, SamplingRate: 0.5}
		if err != nil || got != want || got.Server() != c.atServer {
			t.Errorf("%s %s: %+v at %s, %v; want %+v at %s", c.protocol, c.endpoint, got, got.Server(), err, want, c.atServer)
		}
		if again, err := ParseTracing(got.Protocol, got.Endpoint, 0.5); err != nil || again != got {
			t.Errorf("%s becomes %+v the second time, %v", got.Endpoint, again, err)
		}
		if off, err := ParseTracing(c.protocol, c.endpoint, 0); err != nil || off.On() {
			t.Errorf("%s with a rate of 0: %+v, %v", c.endpoint, off, err)
		}
	}
}

func TestParseTracingRefuses(t *testing.T) {
	for _, c := range []struct {
		protocol TracingProtocol
		endpoint string
		rate     float64
		want     string
	}{
		{"zipkin", "http://c:1", 1, "want grpc or http/protobuf"},
		{"", "http://c:1", 1, "want grpc or http/protobuf"},
		{TracingGRPC, "http://c:1", -0.1, "want a number from 0 to 1"},
		{TracingGRPC, "http://c:1", 1.1, "want a number from 0 to 1"},
		{TracingGRPC, "http://c:1", math.NaN(), "want a number from 0 to 1"},
		{TracingGRPC, "", 1, "want the URL of a collector"},
		{TracingGRPC, "collector", 1, "want the URL of a collector"},
		{TracingGRPC, "http://", 1, "want the URL of a collector"},
		{TracingGRPC, "unix:///run/collector", 1, "want the URL of a collector"},
		{TracingGRPC, "http://c:port", 0, "want the URL of a collector"},
		{TracingGRPC, "http://c:1/v1/traces", 1, "has a path"},
		{TracingHTTP, "http://user:hidden@c:1", 1, "has a password"},
		{TracingHTTP, "http://c:1/?token=hidden", 1, "has a password, a query"},
	} {
		_, err := ParseTracing(c.protocol, c.endpoint, c.rate)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s %s %v: error %v, want %q", c.protocol, c.endpoint, c.rate, err, c.want)
		}
	}
}
