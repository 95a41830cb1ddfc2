package xds_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// guarded is a server that clients reach only over TLS.
type guarded struct {
	*rig
	ca    *authority.Authority
	files *certificate.Source
}

func guard(t testing.TB, options xds.Options) *guarded {
	t.Helper()
	ca := authority.New(t)
	files := ca.Issue("server", "127.0.0.1")
	files.CA = ca.File
	source, err := certificate.Open(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &guarded{serveOn(t, options, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(source.Server("h2")))), ca, source}
}

// as is the dial option for a certificate for some names that an authority has signed; without names the client has none.
func (g *guarded) as(t testing.TB, signer *authority.Authority, names ...string) grpc.DialOption {
	t.Helper()
	var files certificate.Files
	if len(names) > 0 {
		files = signer.Issue("client", names...)
	}
	files.CA = g.ca.File
	source, err := certificate.Open(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(source.Client("")))
}

// ending is the error that a client's first request ends the stream with.
func (c *raw) ending(t *testing.T) error {
	t.Helper()
	_ = c.wire.subscribe(c.node, resource.EndpointType, "a") // receiving returns the error
	select {
	case err := <-c.ended:
		return err
	case r := <-c.replies:
		t.Fatalf("answered with %s %v", r.short(), r.names())
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	return nil
}

func TestStrangersGetNoStream(t *testing.T) {
	g := guard(t, xds.Options{})
	g.set(endpoints("a", ""))
	for name, test := range map[string]struct {
		option grpc.DialOption
		want   string
	}{
		"without a certificate":         {g.as(t, g.ca), "certificate required"},
		"with one of another authority": {g.as(t, authority.New(t), "spiffe://x/gateway"), "unknown certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, p *protocol) {
				// A connection that is closed may be reset before the client has read why.
				eventually(t, "the client sees "+test.want, func() bool {
					c, err := g.tryConnect(t, p, "gateway", test.option)
					if err == nil {
						err = c.ending(t)
					}
					if status.Code(err) != codes.Unavailable {
						t.Fatalf("got %v", err)
					}
					return strings.Contains(err.Error(), test.want)
				})
			})
		})
	}
}

// gatewaysOnly lets one identity be a gateway.
func gatewaysOnly(c xds.Caller) error {
	if c.Role == "gateway" && slices.Contains(c.Identities, "spiffe://x/gateway") {
		return nil
	}
	return errors.New("not as a " + c.Role + " with " + strings.Join(c.Identities, " and "))
}

func TestClientHasOnlyTheRoleThatItIsAllowed(t *testing.T) {
	options, seen := gather(xds.Options{Allow: gatewaysOnly})
	g := guard(t, options)
	g.set(endpoints("a", ""))
	gateway, other := g.as(t, g.ca, "spiffe://x/gateway", "gw.test"), g.as(t, g.ca, "spiffe://x/other", "other.test")
	denied := map[string]uint64{}
	for _, p := range append([]*protocol{delta, sotw}, separate(resource.EndpointType)...) {
		for role, options := range map[string][]grpc.DialOption{"gateway": {other}, "activator": {gateway, other}, "mesh": {other}} {
			for _, option := range options {
				c := g.connect(t, p, role, option)
				denied[role]++
				err := c.ending(t)
				if text := status.Convert(err).Message(); status.Code(err) != codes.PermissionDenied ||
					!strings.HasPrefix(text, "not as a "+role+" with spiffe://x/") {
					t.Errorf("%s as %s: %v", p.name, role, err)
				}
			}
		}
	}
	if diff := cmp.Diff(denied, g.Stats().Denied); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
	c := g.connect(t, delta, "gateway", gateway)
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	connected{contract.RoleGateway, []resource.Node{{ID: "test"}}}.await(t, seen) // the first report
}

func TestLoadIsTakenOnlyFromThoseAllowed(t *testing.T) {
	options, reports := collect(xds.Options{Allow: gatewaysOnly})
	g := guard(t, options)
	report := func(role string, option grpc.DialOption) error {
		stream, err := load_statsv3.NewLoadReportingServiceClient(g.dial(t, option)).StreamLoadStats(t.Context())
		if err != nil {
			return err
		}
		m := requests("ns/a", "", 1)
		m.Node = &corev3.Node{Id: "one", Cluster: role}
		if err := stream.Send(m); err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := report("activator", g.as(t, g.ca, "spiffe://x/gateway")); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a gateway's load as an activator's: %v", err)
	}
	if err := report("gateway", g.as(t, g.ca, "spiffe://x/gateway")); err != nil {
		t.Errorf("a gateway's load: %v", err)
	}
	if got := await(t, "a report", reports); got.Role != contract.RoleGateway {
		t.Errorf("got %+v", got)
	}
}

func TestStatusIsAnsweredOnlyForAllowedCallers(t *testing.T) {
	g := guard(t, xds.Options{Allow: func(c xds.Caller) error {
		if c.Role == "status" && slices.Contains(c.Identities, "operator.test") {
			return nil
		}
		return errors.New("not as " + c.Role)
	}})
	g.set()
	for name, want := range map[string]codes.Code{"operator.test": codes.OK, "other.test": codes.PermissionDenied} {
		client := statusv3.NewClientStatusDiscoveryServiceClient(g.dial(t, g.as(t, g.ca, name)))
		if _, err := client.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{}); status.Code(err) != want {
			t.Errorf("%s fetches: %v, want %v", name, err, want)
		}
		stream, err := client.StreamClientStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("%s streams: %v, want %v", name, err, want)
		}
	}
	if got := g.Stats().Denied["status"]; got != 2 {
		t.Errorf("%d are counted as denied", got)
	}
}

func TestCallerWithoutTLSHasNoIdentity(t *testing.T) {
	callers := make(chan xds.Caller, 10)
	r := serve(t, xds.Options{Allow: func(c xds.Caller) error { callers <- c; return nil }})
	r.set(endpoints("a", ""))
	c := r.connect(t, delta, "anything")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	got := await(t, "a caller", callers)
	if host, _, err := net.SplitHostPort(got.Address.String()); err != nil || host != "127.0.0.1" || got.Address.Network() != "tcp" {
		t.Errorf("the address is %v", got.Address)
	}
	got.Address = nil
	if diff := cmp.Diff(xds.Caller{Role: "mesh", Node: "test"}, got); diff != "" {
		t.Errorf("caller (-want +got):\n%s", diff)
	}
	c.subscribe(resource.ClusterType, "b")
	c.gone(resource.ClusterType, "b")
	if len(callers) > 0 {
		t.Error("asked twice for one stream")
	}
}

func TestNewCertificateIsForNewConnections(t *testing.T) {
	g := guard(t, xds.Options{})
	g.set(endpoints("a", "1"))
	serial := func(conn *grpc.ClientConn) string {
		t.Helper()
		stream, err := load_statsv3.NewLoadReportingServiceClient(conn).StreamLoadStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&load_statsv3.LoadStatsRequest{Node: &corev3.Node{Id: "s"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		p, _ := grpcpeer.FromContext(stream.Context())
		return p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].SerialNumber.String()
	}
	var streams []*raw
	for i := range 3 {
		option := g.as(t, g.ca, "spiffe://x/gateway")
		if got, want := serial(g.dial(t, option)), g.files.Newest().Certificate.Leaf.SerialNumber.String(); got != want {
			t.Errorf("round %d: served with %s, want %s", i, got, want)
		}
		c := g.connect(t, delta, "gateway", option)
		c.subscribe(resource.EndpointType)
		c.take(resource.EndpointType, "a")
		streams = append(streams, c)
		before := g.files.Newest()
		g.ca.Issue("server", "127.0.0.1")
		if g.files.Refresh() == before {
			t.Fatal("the new certificate was not taken over")
		}
		g.set(endpoints("a", string(rune('2'+i))))
		for _, old := range streams {
			old.take(resource.EndpointType, "a")
		}
	}
}

// BenchmarkEndpointChangeOverTLS is BenchmarkEndpointChange with 100 resources, beside the same over mutual TLS with an identity
// that is looked up.
func BenchmarkEndpointChangeOverTLS(b *testing.B) {
	const clients = 100
	run := func(b *testing.B, r *rig, option ...grpc.DialOption) {
		o := ours{r.Server}
		o.fill(100)
		arrived := attach(b, r.address, clients, 100, option...)
		change, before := 0, cpu()
		for b.Loop() {
			change++
			o.change(change)
			for arrived.Load() < int64(change*clients) {
				time.Sleep(20 * time.Microsecond)
			}
		}
		b.ReportMetric(float64(cpu()-before)/float64(b.N*clients), "cpu-ns/client")
	}
	b.Run("plain", func(b *testing.B) { run(b, serve(b, xds.Options{})) })
	b.Run("tls", func(b *testing.B) {
		g := guard(b, xds.Options{Allow: gatewaysOnly})
		run(b, g.rig, g.as(b, g.ca, "spiffe://x/gateway"))
	})
}
