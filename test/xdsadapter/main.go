// Command xdsadapter runs our xDS server for conformance harnesses. They set the resources of each node over a small gRPC service. It
// is not part of the product: with it, tests that others have written run against the real server.
//
// It knows neither Worlds nor Sluice's services. A harness gives the name and version of a resource, and the adapter generates the
// rest. It listens on loopback without any security.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"sluice.dev/sluice/xds"
)

func main() {
	xdsAddress := flag.String("xds", "127.0.0.1:18000", "address of the xDS server (plain text: keep it on loopback)")
	adapterAddress := flag.String("adapter", "127.0.0.1:17000", "address of the adapter's service (plain text: keep it on loopback)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *xdsAddress, *adapterAddress)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "xdsadapter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, xdsAddress, adapterAddress string) error {
	clients, err := net.Listen("tcp", xdsAddress)
	if err != nil {
		return fmt.Errorf("listening for xDS clients on %s (--xds): %w", xdsAddress, err)
	}
	defer clients.Close()
	harness, err := net.Listen("tcp", adapterAddress)
	if err != nil {
		return fmt.Errorf("listening for the harness on %s (--adapter): %w", adapterAddress, err)
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "xdsadapter"})
	logger.Info("serving", "xds", clients.Addr(), "adapter", harness.Addr())
	return serve(ctx, clients, harness, logger)
}

// serve serves on both sockets until ctx ends.
func serve(ctx context.Context, clients, harness net.Listener, logger hclog.Logger) error {
	nodes := newNodes(logger)
	defer nodes.close()
	discovery := grpc.NewServer(append(xds.ServerOptions(), grpc.StreamInterceptor(nodes.route))...)
	nodes.of("").server.Register(discovery) // only declares the services: route chooses the server
	adapter := grpc.NewServer()
	if err := register(adapter, nodes); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return discovery.Serve(clients) })
	group.Go(func() error { return adapter.Serve(harness) })
	group.Go(func() error {
		<-ctx.Done()
		discovery.Stop()
		adapter.Stop()
		return nil
	})
	return group.Wait()
}
