package xds_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// trustGateways trusts every client that says it is a gateway.
func trustGateways(c xds.Caller) bool { return c.Role == "gateway" }

func TestUntrustedClientGetsOnlyWhatItNames(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Trust: trustGateways})
		r.set(endpoints("a", ""), endpoints("b", ""))
		c := r.connect(t, p, "mesh")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		for _, names := range [][]string{nil, {"*"}, {"*", "a"}} {
			c := r.connect(t, p, "mesh")
			_ = c.wire.subscribe(c.node, resource.EndpointType, names...) // receiving returns the error
			select {
			case err := <-c.ended:
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "name those") {
					t.Errorf("asking for %v: %v", names, err)
				}
			case reply := <-c.replies:
				t.Errorf("asking for %v is answered with %v", names, reply.names())
			}
		}
		trusted := r.connect(t, p, "gateway")
		trusted.subscribe(resource.EndpointType)
		trusted.take(resource.EndpointType, "a", "b")
	})
}

// The stream stays open. Otherwise clients would open it again and again.
func TestLoadOfUntrustedClientIsDropped(t *testing.T) {
	options, reports := collect(xds.Options{Trust: trustGateways})
	r := serve(t, options)
	open := func(role string) (load_statsv3.LoadReportingService_StreamLoadStatsClient, *load_statsv3.LoadStatsResponse) {
		t.Helper()
		stream, err := load_statsv3.NewLoadReportingServiceClient(r.dial(t)).StreamLoadStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first := requests("ns/"+role, "", 1)
		first.Node = &corev3.Node{Id: role, Cluster: role}
		if err := stream.Send(first); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return stream, answer
	}
	stranger, answer := open("mesh")
	if answer.GetSendAllClusters() || len(answer.GetClusters()) > 0 {
		t.Errorf("it is asked for load: %v", answer)
	}
	if err := stranger.Send(requests("ns/mesh", "", 2)); err != nil {
		t.Fatal(err)
	}
	if err := stranger.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Recv(); err == nil {
		t.Fatal("the stream did not end") // until it has, a report could be on its way
	}
	_, _ = open("gateway")
	if got := await(t, "a report", reports); got.Role != contract.RoleGateway {
		t.Errorf("the first report that is taken is %+v", got)
	}
}
