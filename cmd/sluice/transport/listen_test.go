package transport

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// opened serves xDS with options in a data directory of its own. It sends the roles of load reports that counted to reported.
func opened(t *testing.T, o ListenOptions) (l *Listeners, dir string, reported <-chan string) {
	t.Helper()
	o.Address = "127.0.0.1:0"
	l, err := o.Open(hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan string, 100)
	server := xds.New(xds.Options{Allow: l.Permits, Trust: l.Trusts, Loads: func(r resource.LoadReport) {
		if !r.Ended {
			reports <- contract.RoleName(r.Role)
		}
	}})
	server.Apply(resource.Update{Set: []*resource.Resource{
		{Type: resource.EndpointType, Name: "a", Version: "1", Roles: contract.RoleGateway | contract.RoleActivator | contract.RoleMesh},
		{Type: resource.SecretType, Name: "key", Version: "1", Roles: contract.RoleGateway},
	}})
	// Not t.TempDir: its paths are longer than a socket's may be.
	if dir, err = os.MkdirTemp("", "sluice"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the folder for temporary files
	s := stage.NewGroup()
	if err := l.Serve(s, server, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(nil); err != nil {
			t.Error(err)
		}
	})
	return l, dir, reports
}

// caller is a client on one of the listeners.
type caller struct {
	t    *testing.T
	conn *grpc.ClientConn
}

func visit(t *testing.T, target string, options ...grpc.DialOption) caller {
	t.Helper()
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return caller{t, conn}
}

// get asks for resources of a type, and returns the names of those that come.
func (v caller) get(role, typeURL string, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(v.t.Context(), time.Minute)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(v.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	node := &corev3.Node{Id: "caller", Cluster: role}
	// Recv returns the error.
	_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names})
	response, err := stream.Recv()
	var got []string
	for _, r := range response.GetResources() {
		got = append(got, r.GetName())
	}
	return got, err
}

// report reports load and returns when the server has answered.
func (v caller) report(role string) error {
	stream, err := load_statsv3.NewLoadReportingServiceClient(v.conn).StreamLoadStats(v.t.Context())
	if err != nil {
		return err
	}
	_ = stream.Send(&load_statsv3.LoadStatsRequest{Node: &corev3.Node{Id: "caller", Cluster: role}})
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return errors.Join(stream.Send(&load_statsv3.LoadStatsRequest{}), stream.CloseSend())
}

// ask asks what clients have.
func (v caller) ask() error {
	_, err := statusv3.NewClientStatusDiscoveryServiceClient(v.conn).FetchClientStatus(v.t.Context(), &statusv3.ClientStatusRequest{})
	return err
}

// mayAll fails the test unless the caller may have every role.
func (v caller) mayAll(by string, reported <-chan string) {
	v.t.Helper()
	for _, role := range []string{"gateway", "activator", "mesh"} {
		if got, err := v.get(role, resource.EndpointType, "*"); err != nil || len(got) != 1 {
			v.t.Errorf("as %s %s: %v, %v", role, by, got, err)
		}
		if err := v.report(role); err != nil {
			v.t.Errorf("reporting load as %s %s: %v", role, by, err)
		} else if got := <-reported; got != role {
			v.t.Errorf("reporting load as %s %s: that of %s came", role, by, got)
		}
	}
	if got, err := v.get("gateway", resource.SecretType, "key"); err != nil || len(got) != 1 {
		v.t.Errorf("as gateway %s: secrets %v, %v", by, got, err)
	}
	if err := v.ask(); err != nil {
		v.t.Errorf("asking for the status %s: %v", by, err)
	}
}

var plain = grpc.WithTransportCredentials(insecure.NewCredentials())

func TestXDSSocketIsForThisUser(t *testing.T) {
	l, dir, reported := opened(t, ListenOptions{})
	for path, want := range map[string]os.FileMode{dir + "/run": 0o700, dir + "/run/xds.sock": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v: others could use it", path, info, err)
		}
	}
	visit(t, l.socket, plain).mayAll("by the socket", reported)
	visit(t, InMemory, l.Dial()...).mayAll("inside", reported)
	if err := l.Serve(stage.NewGroup(), l.server, dir+"/"+strings.Repeat("x", 120)); err == nil ||
		!strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestPlainXDSIsForGRPCClientsAlone(t *testing.T) {
	l, _, reported := opened(t, ListenOptions{})
	v := visit(t, l.tcp.Addr().String(), plain)
	for _, role := range []string{"gateway", "activator"} {
		for _, resource := range []string{resource.EndpointType, resource.SecretType} {
			_, err := v.get(role, resource, "a")
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), l.socket) ||
				!strings.Contains(err.Error(), "--xds-insecure") {
				t.Errorf("as %s: %v", role, err)
			}
		}
		if err := v.report(role); status.Code(err) != codes.PermissionDenied {
			t.Errorf("reporting load as %s: %v", role, err)
		}
	}
	if err := v.ask(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("asking for the status: %v", err)
	}
	if got, err := v.get("mesh", resource.EndpointType, "a"); err != nil || len(got) != 1 {
		t.Errorf("as mesh: %v, %v", got, err)
	}
	if got, err := v.get("mesh", resource.EndpointType, "*"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("all as mesh: %v, %v", got, err)
	}
	if got, err := v.get("mesh", resource.SecretType, "key"); err != nil || len(got) > 0 {
		t.Errorf("a key as mesh: %v, %v", got, err)
	}
	if err := v.report("mesh"); err != nil {
		t.Errorf("a load stream as mesh: %v", err) // a client would open it again and again
	}
	if err := visit(t, l.socket, plain).report("activator"); err != nil {
		t.Fatal(err)
	}
	if got := <-reported; got != "activator" {
		t.Errorf("the load of %s came", got)
	}
}

// TLS without certificates of clients encrypts, but proves nothing about the client.
func TestTLSWithoutClientCertificatesIsForGRPCClientsAlone(t *testing.T) {
	ca := authority.New(t)
	files := ca.Issue("server", "127.0.0.1")
	l, _, _ := opened(t, ListenOptions{Cert: files.Chain, Key: files.Key})
	secure, err := (&DialOptions{CA: ca.File}).DialOption(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, l.tcp.Addr().String(), secure)
	if _, err := v.get("gateway", resource.SecretType, "key"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("as gateway: %v", err)
	}
	if got, err := v.get("mesh", resource.EndpointType, "a"); err != nil || len(got) != 1 {
		t.Errorf("as mesh: %v, %v", got, err)
	}
}

func TestInsecureXDSIsForEverybody(t *testing.T) {
	l, _, reported := opened(t, ListenOptions{Insecure: true})
	visit(t, l.tcp.Addr().String(), plain).mayAll("in plain text", reported)
}

func TestCertificatesOpenXDS(t *testing.T) {
	ca := authority.New(t)
	files := ca.Issue("server", "127.0.0.1")
	options := ListenOptions{Cert: files.Chain, Key: files.Key, ClientCA: ca.File}
	l, _, reported := opened(t, options)
	as := func(name string) grpc.DialOption {
		client := ca.Issue("client", name)
		secure, err := (&DialOptions{CA: ca.File, Cert: client.Chain, Key: client.Key}).DialOption(nil)
		if err != nil {
			t.Fatal(err)
		}
		return secure
	}
	visit(t, l.tcp.Addr().String(), as("any.test")).mayAll("with a certificate", reported)

	options.Allow = []string{"gateway=gw.test"}
	l, _, reported = opened(t, options)
	visit(t, l.socket, plain).mayAll("by the socket, where there is a list", reported)
	outside := l.tcp.Addr().String()
	if _, err := visit(t, outside, plain).get("mesh", resource.EndpointType, "a"); status.Code(err) != codes.Unavailable {
		t.Errorf("in plain text: %v", err)
	}
	for name, want := range map[string]codes.Code{"gw.test": codes.OK, "other.test": codes.PermissionDenied} {
		if _, err := visit(t, outside, as(name)).get("gateway", resource.SecretType, "key"); status.Code(err) != want {
			t.Errorf("as %s: %v, want %v", name, err, want)
		}
	}
}
