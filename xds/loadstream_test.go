package xds_test

import (
	"context"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// loadReporter is a client whose every load report a test makes.
type loadReporter struct {
	t      *testing.T
	stream load_statsv3.LoadReportingService_StreamLoadStatsClient
	hangUp context.CancelFunc
}

func (r *rig) reporter(t *testing.T) *loadReporter {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := load_statsv3.NewLoadReportingServiceClient(r.dial(t)).StreamLoadStats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &loadReporter{t, stream, cancel}
}

func (r *loadReporter) say(m *load_statsv3.LoadStatsRequest) {
	r.t.Helper()
	if err := r.stream.Send(m); err != nil {
		r.t.Fatal(err)
	}
}

// greet says who the client is.
func (r *loadReporter) greet(id, role string) *load_statsv3.LoadStatsResponse {
	r.t.Helper()
	r.say(&load_statsv3.LoadStatsRequest{Node: &corev3.Node{Id: id, Cluster: role}})
	answer, err := r.stream.Recv()
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

func requests(cluster, zone string, issued uint64) *load_statsv3.LoadStatsRequest {
	return &load_statsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{{
		ClusterName: cluster, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{
			Locality: &corev3.Locality{Zone: zone}, TotalIssuedRequests: issued,
		}},
	}}}
}

// collect makes Loads fill a channel.
func collect(options xds.Options) (xds.Options, <-chan resource.LoadReport) {
	reports := make(chan resource.LoadReport, 10_000)
	options.Loads = func(r resource.LoadReport) { reports <- r }
	return options, reports
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// alike compares reports but for times that were measured.
func alike(t *testing.T, want, got resource.LoadReport) {
	t.Helper()
	measured := cmpopts.IgnoreFields(resource.LoadReport{}, "Interval")
	if diff := cmp.Diff(want, got, measured, cmpopts.IgnoreFields(resource.ClusterLoad{}, "Interval")); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if !got.Ended && got.Interval <= 0 {
		t.Errorf("the report says it is about %v", got.Interval)
	}
}

func TestLoadReportsArePassedOnUntilTheirStreamEnds(t *testing.T) {
	options, reports := collect(xds.Options{LoadInterval: 3 * time.Second})
	r := serve(t, options) // load is taken before there is a state to serve
	first, second := r.reporter(t), r.reporter(t)
	if got := first.greet("one", "activator"); !got.GetSendAllClusters() || got.GetLoadReportingInterval().AsDuration() != 3*time.Second ||
		got.GetReportEndpointGranularity() {
		t.Errorf("the client is asked for %v", got)
	}
	first.say(requests("ns/a", "pods", 7))
	one := await(t, "a report", reports)
	alike(t, resource.LoadReport{
		Role: contract.RoleActivator, Client: "one", Stream: one.Stream,
		Clusters: []resource.ClusterLoad{{Cluster: "ns/a", Zone: "pods", Issued: 7}},
	}, one)
	first.say(&load_statsv3.LoadStatsRequest{})
	alike(t, resource.LoadReport{Role: contract.RoleActivator, Client: "one", Stream: one.Stream}, await(t, "an empty report", reports))

	second.greet("two", "other")
	second.say(requests("ns/b", "", 1))
	two := await(t, "a report of the other client", reports)
	alike(t, resource.LoadReport{
		Role: contract.RoleMesh, Client: "two", Stream: two.Stream, Clusters: []resource.ClusterLoad{{Cluster: "ns/b", Issued: 1}},
	}, two)
	if one.Stream == two.Stream {
		t.Error("two streams have one number")
	}

	first.hangUp()
	alike(t, resource.LoadReport{Role: contract.RoleActivator, Client: "one", Stream: one.Stream, Ended: true}, await(t, "an end", reports))
	if err := second.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	alike(t, resource.LoadReport{Role: contract.RoleMesh, Client: "two", Stream: two.Stream, Ended: true}, await(t, "an end", reports))

	// Reports may come with the node. A client that never reports ends too; one that never sends its node does not.
	third, silent := r.reporter(t), r.reporter(t)
	m := requests("ns/c", "", 2)
	m.Node = &corev3.Node{Id: "three", Cluster: "gateway"}
	third.say(m)
	three := await(t, "a first report", reports)
	alike(t, resource.LoadReport{
		Role: contract.RoleGateway, Client: "three", Stream: three.Stream, Clusters: []resource.ClusterLoad{{Cluster: "ns/c", Issued: 2}},
	}, three)
	quiet := r.reporter(t)
	quiet.greet("four", "gateway")
	silent.hangUp()
	quiet.hangUp()
	if end := await(t, "an end", reports); !end.Ended || end.Client != "four" {
		t.Errorf("got %+v", end)
	}
	if stats := r.Stats(); stats.LoadReports != 4 || stats.LoadsDropped != 0 {
		t.Errorf("counted %d reports, %d dropped", stats.LoadReports, stats.LoadsDropped)
	}
}

func TestLoadStreamsEndWithTheServer(t *testing.T) {
	options, reports := collect(xds.Options{})
	r := serve(t, options)
	c := r.reporter(t)
	c.greet("one", "gateway")
	r.Close()
	if end := await(t, "an end", reports); !end.Ended {
		t.Errorf("got %+v", end)
	}
	if _, err := c.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the client sees %v", err)
	}
}

func TestLoadStreamsCountAgainstTheLimit(t *testing.T) {
	r := serve(t, xds.Options{MaxStreams: 2})
	r.set()
	r.reporter(t).greet("one", "gateway")
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType, "none")
	c.gone(resource.EndpointType, "none")
	third := r.reporter(t)
	if _, err := third.stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the third stream sees %v", err)
	}
}

func TestLoadOfALongNameIsRefused(t *testing.T) {
	options, reports := collect(xds.Options{})
	r := serve(t, options)
	c := r.reporter(t)
	c.say(&load_statsv3.LoadStatsRequest{Node: &corev3.Node{Id: string(make([]byte, 2000))}})
	if _, err := c.stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the client sees %v", err)
	}
	if len(reports) > 0 {
		t.Errorf("got %v", <-reports)
	}
}
