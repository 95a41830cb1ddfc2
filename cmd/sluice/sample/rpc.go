package sample

import (
	"context"
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The methods of the sample's gRPC service. Their messages are google.protobuf.StringValue both ways, so a client needs
// no generated code:
//
//	reply := new(wrapperspb.StringValue)
//	err := conn.Invoke(ctx, sample.EchoMethod, wrapperspb.String("ping"), reply)
//
// The reply is the greeting and the text: "Hello World from greeter-00001: ping".
const (
	EchoMethod   = "/" + serviceName + "/Echo"   // unary
	StreamMethod = "/" + serviceName + "/Stream" // bidirectional: a reply to each message
)

const serviceName = "sluice.sample.Echo"

// newRPC returns the gRPC service as a handler, which shares the port with HTTP.
func newRPC(greeting string) http.Handler {
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	server.RegisterService(&serviceDesc, echoServer{greeting})
	return server
}

// echoServer answers each text with the greeting and the text.
type echoServer struct{ greeting string }

func (s echoServer) reply(text *wrapperspb.StringValue) *wrapperspb.StringValue {
	return wrapperspb.String(s.greeting + ": " + text.GetValue())
}

// serviceDesc is what protoc would generate for the service.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echoUnary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Stream", Handler: echoStream, ServerStreams: true, ClientStreams: true},
	},
}

//nolint:revive // grpc.MethodHandler has the context second
func echoUnary(server any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	text := new(wrapperspb.StringValue)
	if err := decode(text); err != nil {
		return nil, err
	}
	return server.(echoServer).reply(text), nil //nolint:forcetypeassert // newRPC registered it
}

func echoStream(server any, stream grpc.ServerStream) error {
	for {
		text := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(text); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.SendMsg(server.(echoServer).reply(text)); err != nil { //nolint:forcetypeassert // newRPC registered it
			return err
		}
	}
}
