package queueproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// grpcUnavailable is the status UNAVAILABLE of gRPC, on which clients try again elsewhere.
const grpcUnavailable = "14"

// endGRPC has a gRPC response that a drain cuts off end with a status in its trailer. Cut off without one, clients
// would see INTERNAL and take it for an error of the application. A response that has not begun needs no such care:
// clients take its 503 for UNAVAILABLE.
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
