// Command client calls the greeter of this example without a proxy: grpc-go gets the endpoints of "greeter.default.localhost" and
// the split of its calls from Sluice's xDS server.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/xds" // registers the xds:/// scheme
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	target := flag.String("target", "xds:///greeter.default.localhost", "gRPC target")
	calls := flag.Int("calls", 100, "number of calls")
	flag.Parse()
	if err := run(*target, *calls); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run makes the calls one after the other and prints each answer.
func run(target string, calls int) error {
	if os.Getenv("GRPC_XDS_BOOTSTRAP") == "" && os.Getenv("GRPC_XDS_BOOTSTRAP_CONFIG") == "" {
		return fmt.Errorf("set GRPC_XDS_BOOTSTRAP to the bootstrap.json of this example, which names the xDS server")
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for range calls {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		reply := &wrapperspb.StringValue{}
		err := conn.Invoke(ctx, "/sluice.sample.Echo/Echo", wrapperspb.String("hi"), reply, grpc.WaitForReady(true))
		cancel()
		if err != nil {
			return err
		}
		fmt.Println(reply.GetValue())
	}
	return nil
}
