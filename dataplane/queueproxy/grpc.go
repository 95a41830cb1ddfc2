package queueproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// grpcUnavailable is gRPC's status UNAVAILABLE, on which clients retry elsewhere.
const grpcUnavailable = "14"

// endGRPC gives a gRPC response that a drain cuts off a status in its trailer. Without one, clients would report INTERNAL, as for an error
// of the application. A response that has not begun does not need it: clients map its 503 to UNAVAILABLE.
func endGRPC(response *http.Response) {
	if isGRPC(response.Header) {
		response.Body = &grpcBody{ReadCloser: response.Body, response: response}
	}
}

type grpcBody struct {
	io.ReadCloser
	response *http.Response
}

// Read turns the error of a drain into the end of the response.
func (b *grpcBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) || !errors.Is(context.Cause(b.response.Request.Context()), errShuttingDown) {
		return n, err
	}
	if b.response.Trailer == nil {
		b.response.Trailer = http.Header{}
	}
	b.response.Trailer.Set("Grpc-Status", grpcUnavailable)
	b.response.Trailer.Set("Grpc-Message", errShuttingDown.Error())
	return n, io.EOF
}
