package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/inspect"
	"sluice.dev/sluice/cmd/sluice/metrics"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// harness is an xDS server with some clients, for the command line.
type harness struct {
	*xds.Server
	t       *testing.T
	address string
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := xds.New(xds.Options{Settle: time.Nanosecond})
	g := grpc.NewServer(xds.ServerOptions()...)
	server.Register(g)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(func() { g.Stop(); server.Close() })
	return &harness{server, t, listener.Addr().String()}
}

func (d *harness) set(version string, all ...proto.Message) {
	d.t.Helper()
	var u resource.Update
	for _, m := range all {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			d.t.Fatal(err)
		}
		r := &resource.Resource{Version: version, Body: body, Roles: contract.RoleGateway | contract.RoleMesh}
		switch m := m.(type) {
		case *clusterv3.Cluster:
			r.Type, r.Name = resource.ClusterType, m.GetName()
		case *tlsv3.Secret:
			r.Type, r.Name = resource.SecretType, m.GetName()
		}
		u.Set = append(u.Set, r)
	}
	d.Apply(u)
}

// join connects a client that NACKs some versions.
func (d *harness) join(id, role string, reject ...string) {
	c := client.New(client.Config{Target: d.address, NodeID: id, Role: role, Handler: func(u client.Update) error {
		for _, r := range u.Set {
			for _, version := range reject {
				if r.Version == version {
					return fmt.Errorf("%s: %s is not for me", r.Name, version)
				}
			}
		}
		return nil
	}})
	c.Subscribe(resource.ClusterType, client.Wildcard)
	if role == "gateway" {
		c.Subscribe(resource.SecretType, "pair")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	d.t.Cleanup(func() { cancel(); <-done })
}

// run executes a command against the server.
func (d *harness) run(args ...string) (string, error) {
	d.t.Helper()
	var out bytes.Buffer
	c := root()
	c.SetOut(&out)
	c.SetArgs(append(append([]string{"xds"}, args...), "--xds", d.address))
	err := c.ExecuteContext(d.t.Context())
	return out.String(), err
}

var (
	span   = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s)\b`)
	spaces = regexp.MustCompile(` +`)
)

// printed runs a command until it prints a text. It replaces times by TIME and several spaces by one.
func (d *harness) printed(want string, args ...string) {
	d.t.Helper()
	got := ""
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		out, err := d.run(args...)
		got = spaces.ReplaceAllString(span.ReplaceAllString(out, "TIME"), " ")
		if err != nil && !errors.Is(err, command.Exit{Code: exitDiffers}) {
			got = err.Error() // nobody may be connected yet
		}
		if got == want {
			return
		}
	}
	d.t.Fatalf("sluice xds %v, -want +got:\n%s", args, cmp.Diff(want, got))
}

func pair() *tlsv3.Secret {
	inline := func(text string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	}
	return &tlsv3.Secret{Name: "pair", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline("chain"), PrivateKey: inline("the key"),
	}}}
}

func TestXDSCommandsShowWhatClientsHave(t *testing.T) {
	d := newHarness(t)
	d.set("v1", &clusterv3.Cluster{Name: "a"}, &clusterv3.Cluster{Name: "b"}, pair())
	d.printed("no client is connected\n", "status")
	d.join("gateway-1", "gateway", "v2")
	d.join("grpc-1", "mesh")
	d.printed(`ID ROLE PROTOCOL CONNECTED CDS SDS ACKS NACKS LAG BYTES
gateway-1 gateway delta TIME 2/0/0 1/0/0 2 0 TIME 34
grpc-1 mesh delta TIME 2/0/0 - 1 0 TIME 6
`, "status")
	d.printed("gateway-1 has all 3 resources that it asked for as they are offered to role gateway: no difference\n", "diff", "gateway")
	d.printed(`secrets:
# pair: version v1, synced
- name: pair
 tls_certificate:
 certificate_chain:
 inline_string: chain
 private_key:
 inline_string: (not shown)
`, "dump", "gateway", "-t", "sds")

	d.set("v2", &clusterv3.Cluster{Name: "a", AltStatName: "other"})
	d.printed(`gateway-1: gateway, delta, at state 2 of 2, lag TIME, 2 acks, 1 nacks, 45 bytes
TYPE NAME VERSION STATE
CDS a v1 rejected
CDS b v1 synced
SDS pair v1 synced
CDS a in version v2 is rejected: a: v2 is not for me
`, "status", "gateway")
	d.printed(`clusters:
# a: version v1, rejected in version v2: a: v2 is not for me
- name: a
`, "dump", "gateway-1", "a")
	d.printed(`gateway-1 differs in 1 of 3 resources from what is offered to role gateway

rejected CDS a: has v1, rejects v2
 the client says: a: v2 is not for me
 --- has
 +++ offered
 @@ -1 +1,2 @@
 +alt_stat_name: other
 name: a
grpc-1 has all 2 resources that it asked for as they are offered to role mesh: no difference
`, "diff")
	if _, err := d.run("diff", "gateway"); !errors.Is(err, command.Exit{Code: exitDiffers}) {
		t.Errorf("diff ended with %v, want %d and nothing to say", err, exitDiffers)
	}

	d.set("v3", &clusterv3.Cluster{Name: "a"})
	if out, err := d.run("diff", "--wait", "20s"); err != nil || strings.Count(out, "no difference") != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestXDSCommandsSayItInJSON(t *testing.T) {
	d := newHarness(t)
	d.set("v1", &clusterv3.Cluster{Name: "a"}, pair())
	d.join("gateway-1", "gateway")
	if _, err := d.run("diff", "gateway-1", "--wait", "20s"); err == nil {
		t.Log("in sync")
	}
	read := func(into any, args ...string) string {
		t.Helper()
		out, err := d.run(append(args, "-o", "json")...)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return out
	}
	var clients []status.Client
	read(&clients, "status", "gateway")
	if len(clients) != 1 || clients[0].ID != "gateway-1" || clients[0].Types["cds"].Synced != 1 || len(clients[0].Resources) != 2 {
		t.Errorf("status: %+v", clients)
	}
	var resources []struct {
		Name    string
		Content map[string]any
	}
	if out := read(&resources, "dump", "gateway"); len(resources) != 2 || resources[0].Content["name"] != "a" ||
		strings.Contains(out, "the key") {
		t.Errorf("dump: %s", out)
	}
	var comparisons []inspect.Comparison
	read(&comparisons, "diff")
	if len(comparisons) != 1 || len(comparisons[0].Differences) != 0 || comparisons[0].Resources != 2 {
		t.Errorf("diff: %+v", comparisons)
	}
}

func TestXDSCommandsNameWhatIsWrong(t *testing.T) {
	d := newHarness(t)
	d.set("v1", &clusterv3.Cluster{Name: "a"})
	d.join("edge-1", "mesh")
	d.join("edge-2", "mesh")
	d.printed("ID ROLE PROTOCOL CONNECTED CDS ACKS NACKS LAG BYTES\nedge-1 mesh delta TIME 1/0/0 1 0 TIME 3\n"+
		"edge-2 mesh delta TIME 1/0/0 1 0 TIME 3\n", "status")
	for want, args := range map[string][]string{
		`client "x" is not connected to ` + d.address + `; connected are edge-1, edge-2`:          {"status", "x"},
		`client "edge" could be any of edge-1, edge-2: give more of its name`:                     {"dump", "edge"},
		`client "edge-1" has no such resource: ` + "`sluice xds status edge-1` lists what it has": {"dump", "edge-1", "-t", "rds"},
		`--type "clusters" is none of cds, eds, lds, rds, sds and srds`:                           {"dump", "edge-1", "-t", "clusters"},
		`--output "xml" is neither table nor json`:                                                {"diff", "-o", "xml"},
	} {
		_, err := d.run(args...)
		if err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
		var code command.Exit
		if isDiff := args[0] == "diff"; errors.As(err, &code) != isDiff || isDiff && code.Code != exitTrouble {
			t.Errorf("%v ends with %+v", args, code)
		}
	}
	c := root()
	c.SetArgs([]string{"xds", "status", "--xds", "127.0.0.1:1"})
	if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "xDS server at 127.0.0.1:1: ") {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestXDSMetricsHaveTheDocumentedNames(t *testing.T) {
	d := newHarness(t)
	delivery := metrics.NewDelivery()
	registry := admin.NewRegistry()
	registry.MustRegister(metrics.XDS(d.Stats), delivery)
	d.set("v1", &clusterv3.Cluster{Name: "a"}, pair())
	d.join("gateway-1", "gateway")
	d.printed("gateway-1 has all 2 resources that it asked for as they are offered to role gateway: no difference\n", "diff")
	delivery.Progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
	delivery.Timed(func(resource.Update) uint64 { return 1 })(resource.Update{Set: []*resource.Resource{{Roles: contract.RoleGateway}}})
	got := metricsOf(t, registry)
	for _, want := range []string{
		`sluice_xds_clients{role="gateway"} 1`, `sluice_xds_clients{role="mesh"} 0`, "sluice_xds_sequence 1",
		`sluice_xds_resources{type="cds"} 2`, `sluice_xds_resources{type="sds"} 2`, `sluice_xds_rejected_resources{type="cds"} 0`,
		`sluice_xds_pushes_total{type="cds"} 1`, `sluice_xds_pushed_bytes_total{type="cds"} 3`, `sluice_xds_acks_total{type="sds"} 1`,
		`sluice_xds_nacks_total{type="other"} 0`, "sluice_xds_requests_total 4", "sluice_xds_load_reports_total 0",
		"sluice_xds_loads_dropped_total 0",
		`sluice_xds_acknowledgement_seconds_count{role="gateway"} 1`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("%s is not in the metrics:\n%s", want, got)
		}
	}
}

// metricsOf is what a registry shows on /metrics.
func metricsOf(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	admin.NewMux(registry).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	return w.Body.String()
}
