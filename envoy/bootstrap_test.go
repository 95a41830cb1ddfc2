package envoy_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/envoy"
)

var update = flag.Bool("update", false, "rewrite the expected bootstraps in testdata")

func plain() envoy.Options {
	return envoy.Options{NodeID: "gateway-1", Zone: "a", XDS: "127.0.0.1:18000", Admin: "127.0.0.1:9901"}
}

func TestBootstrap(t *testing.T) {
	secured := plain()
	secured.XDS, secured.Admin = "sluice.sluice-system.svc:18000", "[::1]:9901"
	secured.TLS = &envoy.TLS{CA: "/etc/sluice/ca.pem", ServerName: "sluice.sluice-system.svc", Certificate: "/etc/sluice/cert.pem",
		Key: "/etc/sluice/key.pem"}
	socket := plain()
	socket.XDS, socket.Admin, socket.Connections = "unix:/run/sluice/xds.sock", "unix:/run/sluice/envoy.sock", 10
	socket.Memory = 1 << 30
	for name, options := range map[string]envoy.Options{"plain": plain(), "tls": secured, "socket": socket} {
		t.Run(name, func(t *testing.T) {
			got, err := envoy.Bootstrap(options)
			if err != nil {
				t.Fatal(err)
			}
			requireBootstrap(t, got)
			file := "testdata/" + name + ".yaml"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
			}
		})
	}
}

// requireBootstrap reads YAML as Envoy does.
func requireBootstrap(t *testing.T, text []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(json, b); err != nil {
		t.Fatal(err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootstrapRefusesWhatCannotWork(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*envoy.Options)
		want   string
	}{
		"no node id":             {func(o *envoy.Options) { o.NodeID = "" }, "node id is empty"},
		"admin for all to reach": {func(o *envoy.Options) { o.Admin = "0.0.0.0:9901" }, "not on loopback"},
		"admin without a port":   {func(o *envoy.Options) { o.Admin = "127.0.0.1" }, "no address"},
		"admin at no path":       {func(o *envoy.Options) { o.Admin = "unix:" }, "1 to 107 bytes"},
		"admin at a long path":   {func(o *envoy.Options) { o.Admin = "unix:/" + strings.Repeat("x", 107) }, "1 to 107 bytes"},
		"server without a port":  {func(o *envoy.Options) { o.XDS = "127.0.0.1" }, "want host:port"},
		"server on port 0":       {func(o *envoy.Options) { o.XDS = "127.0.0.1:0" }, "no host and port"},
		"server at no path":      {func(o *envoy.Options) { o.XDS = "unix:" }, "no path of a socket"},
		"TLS without a name":     {func(o *envoy.Options) { o.XDS, o.TLS = "unix:/x", &envoy.TLS{CA: "ca"} }, "a server name"},
		"half a key pair": {func(o *envoy.Options) { o.TLS = &envoy.TLS{CA: "ca", ServerName: "s", Key: "k"} },
			"both a certificate and its key"},
	} {
		t.Run(name, func(t *testing.T) {
			o := plain()
			test.change(&o)
			if _, err := envoy.Bootstrap(o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

func TestServerNameIsTheHostUnlessGiven(t *testing.T) {
	o := plain()
	o.TLS = &envoy.TLS{CA: "ca.pem"}
	text, err := envoy.Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "exact: 127.0.0.1") || strings.Contains(string(text), "sni:") {
		t.Errorf("want a server that is held to its address, and no SNI for that:\n%s", text)
	}
}
