// Package otlp sends spans to a collector by OpenTelemetry's protocol (https://opentelemetry.io/docs/specs/otlp/), over HTTP with protobuf
// or over gRPC.
//
// It has an encoder and a client of its own because a queue-proxy, which there is in every pod, holds neither generated protos nor gRPC:
// OpenTelemetry's exporters would make it a third larger. A call of gRPC with one message each way is one request of HTTP/2.
package otlp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

// exportMethod is the path of the call by which a collector takes spans.
const exportMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// Client sends spans to one collector.
type Client struct {
	grpc      bool
	url       string
	transport *http.Transport
}

// New returns a client of a collector. It connects when there are spans to send.
func New(config model.Tracing) tracing.Exporter {
	c := &Client{
		grpc: config.Protocol == model.TracingGRPC, url: config.Endpoint,
		transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, Protocols: new(http.Protocols), DisableCompression: true,
		},
	}
	if c.grpc {
		c.url += exportMethod
		c.transport.Protocols.SetHTTP2(true)
		c.transport.Protocols.SetUnencryptedHTTP2(true)
	} else {
		c.transport.Protocols.SetHTTP1(true)
		c.transport.Protocols.SetHTTP2(true)
	}
	return c
}

// Close closes the connection.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 4 << 10

// Export sends spans.
func (c *Client) Export(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, contentType := encode(spans), "application/x-protobuf"
	if c.grpc {
		body, contentType = framed(body), "application/grpc"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return tracing.Permanent{Err: err}
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "sluice")
	if c.grpc {
		r.Header.Set("Te", "trailers")
	}
	response, err := c.transport.RoundTrip(r) // no redirects: a collector has none
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}
	defer func() { _ = response.Body.Close() }()                         // it was read as far as it matters
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // the trailers follow, and the connection can be used again
	if c.grpc && response.StatusCode == http.StatusOK {
		return grpcResult(response)
	}
	return httpResult(response)
}

// framed is a message as gRPC sends it: not compressed, with its length before it.
func framed(message []byte) []byte {
	const prefix = 5
	frame := make([]byte, prefix, prefix+len(message))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
	return append(frame, message...)
}

// httpResult is the error that the status of a response means. Those after which spans may be sent again are OTLP's.
func httpResult(response *http.Response) error {
	err := fmt.Errorf("the collector answers %s", response.Status)
	switch status := response.StatusCode; status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return err
	default:
		if status/100 == 2 {
			return nil
		}
		return tracing.Permanent{Err: err}
	}
}

// grpcResult is the same for gRPC, whose status is a trailer, or a header where there is no body.
func grpcResult(response *http.Response) error {
	code := response.Trailer.Get("Grpc-Status")
	message := response.Trailer.Get("Grpc-Message")
	if code == "" {
		code, message = response.Header.Get("Grpc-Status"), response.Header.Get("Grpc-Message")
	}
	if code == "0" {
		return nil
	}
	err := fmt.Errorf("the collector answers with gRPC status %s %.200q", strconv.Quote(code), message)
	switch code {
	case "1", "4", "8", "10", "11", "14", "15", "": // cancelled, deadline, exhausted, aborted, out of range, unavailable, data loss
		return err
	}
	return tracing.Permanent{Err: err}
}
