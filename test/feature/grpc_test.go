package feature

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// bootstrap returns the bootstrap with which proxyless gRPC clients find the instance.
func (s *instance) bootstrap() []byte {
	s.t.Helper()
	text, err := os.ReadFile(absolute(s.t, "examples/grpc/client/bootstrap.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	return []byte(strings.Replace(string(text), "127.0.0.1:18000", s.xds, 1))
}

// greeter runs examples/grpc until both of its revisions serve.
func greeter(t *testing.T, g gateway) *instance {
	t.Helper()
	s := g.up(t, "-f", absolute(t, "examples/grpc"))
	s.waitFor("2-green.yaml")
	s.ready("greeter")
	return s
}

// callShares makes n calls and returns the percentage of responses that contain each word.
func callShares(t *testing.T, conn *grpc.ClientConn, n int, words ...string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		reply := &wrapperspb.StringValue{}
		err := conn.Invoke(ctx, "/sluice.sample.Echo/Echo", wrapperspb.String("hi"), reply)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words {
			if strings.Contains(reply.GetValue(), w) {
				out[w] += 100 / float64(n)
			}
		}
	}
	return out
}

func TestProxylessClientSeesTheSplitAndFollowsIt(t *testing.T) {
	t.Parallel()
	s := greeter(t, builtin)
	resolver, err := xds.NewXDSResolverWithConfigForTesting(s.bootstrap())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///greeter.default.localhost",
		grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := callShares(t, conn, 3000, "blue", "green"); math.Abs(got["blue"]-70) > 4 || math.Abs(got["green"]-30) > 4 {
		t.Errorf("3,000 calls were split %v, want 70 to 30", got)
	}
	// The client also reports load. The server ignores it, since the client has not proved its identity, but must not refuse the client.
	if text := s.printed(); strings.Contains(text, "turned away") {
		t.Errorf("the server denies the client something:\n%s", text)
	}
	s.change("greeter", func(o *servingv1.Service) {
		o.Spec.Traffic = servingv1.Traffic{target("greeter-green", "", 100)}
	})
	eventually(t, "all calls go to green", func() error {
		if got := callShares(t, conn, 100, "blue", "green"); got["green"] < 99.9 {
			return fmt.Errorf("split %v", got)
		}
		return nil
	})
}

func TestGRPCThroughTheGateway(t *testing.T) { onEachGateway(t, gRPCThroughTheGateway) }

func gRPCThroughTheGateway(t *testing.T, g gateway) {
	s := greeter(t, g)
	conn, err := grpc.NewClient("passthrough:///"+s.gateway, grpc.WithAuthority("greeter.default.localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := callShares(t, conn, 1000, "blue", "green"); math.Abs(got["blue"]-70) > 6 {
		t.Errorf("1,000 calls were split %v, want 70 to 30", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/sluice.sample.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		want := fmt.Sprint("message ", i)
		reply := &wrapperspb.StringValue{}
		if err := stream.SendMsg(wrapperspb.String(want)); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(reply); err != nil || !strings.HasSuffix(reply.GetValue(), want) {
			t.Fatalf("the stream returned %q, %v for %q", reply.GetValue(), err, want)
		}
	}
}

func TestExampleClientRuns(t *testing.T) {
	t.Parallel()
	s := greeter(t, builtin)
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, s.bootstrap(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "./examples/grpc/client", "-calls", "200")
	cmd.Dir = absolute(t, ".")
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+file)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	blue, green := strings.Count(string(out), "Hello blue"), strings.Count(string(out), "Hello green")
	if blue+green != 200 || blue < green {
		t.Errorf("%d answers from blue and %d from green, want 200 in all and about 140 from blue", blue, green)
	}
}
