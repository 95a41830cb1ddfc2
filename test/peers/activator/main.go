// Command activator is one of the parties of the activator's benchmark, which runs each in a process of its own to measure its CPU
// time. `activator app` is an application, `activator sluice HOST:PORT` is our activator in front of it with a control plane, and
// `activator knative HOST:PORT` is Knative's activator. Its handlers are composed as in Knative's main program, and it exports
// neither metrics nor traces, which is the default. Knative's throttler needs a cluster; in its place are the breakers that it has
// for a revision with one replica. All parties print their address and serve until they are killed.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	pkgnet "knative.dev/pkg/network"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "app":
		return serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "Hello World!\n")
		}))
	case len(args) == 2 && args[0] == "knative":
		return serve(listener, knative(args[1]))
	case len(args) == 2 && args[0] == "sluice":
		return sluice(listener, args[1])
	}
	return fmt.Errorf("got %q, want app, or sluice or knative and the address of an application", args)
}

func serve(listener net.Listener, handler http.Handler) error {
	fmt.Println(listener.Addr())
	return pkgnet.NewServer("", handler).Serve(listener)
}

// The revision and its limits, the same for both.
const (
	namespace, revision = "default", "hello-00001"
	concurrency         = 100
	timeoutSeconds      = 300
)

// sluice runs our activator and a control plane that knows one replica.
func sluice(listener net.Listener, target string) error {
	server := xds.New(xds.Options{})
	r, err := assignment(target)
	if err != nil {
		return err
	}
	server.Apply(resource.Update{Set: []*resource.Resource{r}})
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rpc := grpc.NewServer(xds.ServerOptions()...)
	server.Register(rpc)
	go func() { _ = rpc.Serve(port) }() // until the process is killed
	a, err := activator.New(activator.Options{XDS: port.Addr().String(), NodeID: "peer", Listener: listener})
	if err != nil {
		return err
	}
	fmt.Println(a.Address())
	return a.Run(context.Background())
}

func assignment(target string) (*resource.Resource, error) {
	host, text, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	facts, err := structpb.NewStruct(map[string]any{"concurrency": concurrency, "timeout": timeoutSeconds})
	if err != nil {
		return nil, err
	}
	address := &corev3.SocketAddress{Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)}}
	name := namespace + "/" + revision
	body, err := proto.Marshal(&endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		Locality: &corev3.Locality{Zone: "pods"},
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"sluice.dev": facts}},
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: address}},
		}}}},
	}}})
	return &resource.Resource{Type: resource.EndpointType, Name: name, Version: "1", Body: body, Roles: contract.RoleActivator}, err
}
