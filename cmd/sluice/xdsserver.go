package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/allow"
)

// xdsServerFlags say where xDS is served, and to whom.
type xdsServerFlags struct {
	address  string
	cert     string
	key      string
	clientCA string
	allow    []string
	insecure bool
}

func (f *xdsServerFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.address, "xds", "127.0.0.1:18000", "address of the xDS server; anything but loopback needs --xds-tls-cert")
	flags.StringVar(&f.cert, "xds-tls-cert", "", "PEM file with the certificate chain of the xDS server; read again when it changes")
	flags.StringVar(&f.key, "xds-tls-key", "", "PEM file with the key of --xds-tls-cert")
	flags.StringVar(&f.clientCA, "xds-client-ca", "", "PEM file with the authorities that xDS clients must have a certificate of; without it none is asked for")
	flags.StringArrayVar(&f.allow, "xds-allow", nil, "ROLE=IDENTITY or ROLE/NODE=IDENTITY: who may be a gateway, activator, mesh or read the status, by a URI or DNS name of the certificate; may be repeated, and without it any certificate may be anything")
	flags.BoolVar(&f.insecure, "xds-insecure", false, "serve xDS in plain text on an address that is not loopback: whoever reaches it can read and report everything")
}

// check finds flags that contradict each other.
func (f *xdsServerFlags) check() error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return errors.New("--xds-tls-cert and --xds-tls-key belong together: give both or none")
	case f.clientCA != "" && f.cert == "":
		return errors.New("--xds-client-ca asks clients for certificates, which needs TLS: give --xds-tls-cert and --xds-tls-key too")
	case len(f.allow) > 0 && f.clientCA == "":
		return errors.New("--xds-allow goes by clients' certificates: give --xds-client-ca too")
	case f.insecure && f.cert != "":
		return errors.New("--xds-insecure is for plain text: leave it out, or --xds-tls-cert and --xds-tls-key")
	case f.cert != "" || f.insecure:
		return nil
	}
	address, err := net.ResolveTCPAddr("tcp", f.address)
	if err != nil {
		return fmt.Errorf("reading --xds %s: %w; want host:port", f.address, err)
	}
	if !address.IP.IsLoopback() {
		return fmt.Errorf("--xds %s is not on loopback: whoever reaches it would read all that gateways are sent, and could report load; "+
			"give --xds-tls-cert and --xds-tls-key, and --xds-client-ca for clients to be known, or --xds-insecure where the network is trusted", f.address)
	}
	return nil
}

// xdsDoors are the ways to the xDS server: the address for everybody, and for what belongs to this process one that nobody else
// has and that needs no certificate.
type xdsDoors struct {
	outside net.Listener
	files   *certificate.Source // nil: plain text
	list    *allow.List         // nil: whoever gets in may have any role
	inside  *bufconn.Listener
	server  *xds.Server // as soon as they are served
}

// insideBuffer is how many bytes may be under way inside the process, each way.
const insideBuffer = 256 << 10

// open listens for clients; nobody is served yet.
func (f *xdsServerFlags) open(log hclog.Logger) (*xdsDoors, error) {
	d := &xdsDoors{inside: bufconn.Listen(insideBuffer)}
	var err error
	if f.cert != "" {
		if d.files, err = certificate.Open(certificate.Files{Chain: f.cert, Key: f.key, CA: f.clientCA}, log); err != nil {
			return nil, fmt.Errorf("--xds-tls-cert, --xds-tls-key and --xds-client-ca: %w", err)
		}
	}
	if len(f.allow) > 0 {
		if d.list, err = allow.Parse(f.allow); err != nil {
			return nil, fmt.Errorf("--xds-allow %w", err)
		}
	}
	d.outside, err = listen("--xds", f.address)
	return d, err
}

// permits decides who may be what. Those inside prove themselves by being there: in memory, or on a socket in a folder that only
// this user may enter.
func (d *xdsDoors) permits(c xds.Caller) error {
	if d.list == nil || c.Address != nil && c.Address.Network() != "tcp" {
		return nil
	}
	return d.list.Check(c.Role, c.Node, c.Identities)
}

// serve runs the server behind the doors.
func (d *xdsDoors) serve(s *stages, server *xds.Server) {
	d.server = server
	var secure []grpc.ServerOption
	if d.files != nil {
		secure = append(secure, grpc.Creds(credentials.NewTLS(d.files.Server("h2"))))
		s.start("xds certificates", func(ctx context.Context) error { d.files.Run(ctx, nil); return nil })
	}
	s.start("xds server inside", serveXDS(server, d.inside))
	s.start("xds server", serveXDS(server, d.outside, secure...))
	// Before the doors close, whoever is still there is told to come again.
	s.start("xds streams", func(ctx context.Context) error {
		<-ctx.Done()
		server.Close()
		return nil
	})
}

// dial leads clients in this process to the server.
func (d *xdsDoors) dial() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.inside.DialContext(ctx) }),
	}
}

// insideTarget is what clients in this process connect to, with dial.
const insideTarget = "passthrough:///inside"

// forEnvoy is the address for an Envoy that this process runs. With TLS outside it is a socket, so that no certificate has to be
// made for a child of ours.
func (d *xdsDoors) forEnvoy(s *stages, dataDir, address string) (string, error) {
	if d.files == nil {
		return address, nil
	}
	path, err := socketPath(dataDir, "xds.sock")
	if err != nil {
		return "", err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return "", fmt.Errorf("making Envoy's way to the xDS server: %w", err)
	}
	s.start("xds server for Envoy", serveXDS(d.server, l))
	return "unix:" + path, nil
}

// serveXDS serves one door.
func serveXDS(server *xds.Server, listener net.Listener, more ...grpc.ServerOption) func(context.Context) error {
	return func(ctx context.Context) error {
		g := grpc.NewServer(append(xds.ServerOptions(), more...)...)
		server.Register(g)
		defer context.AfterFunc(ctx, g.Stop)()
		return g.Serve(listener)
	}
}

// denied counts the clients that were turned away.
type denied struct{ server *xds.Server }

var deniedDesc = prometheus.NewDesc("sluice_xds_denied_total", "Streams that were turned away because of who the client is, by the role that it wanted.", []string{"role"}, nil)

// Describe sends the description.
func (d denied) Describe(to chan<- *prometheus.Desc) { to <- deniedDesc }

// Collect sends the counts.
func (d denied) Collect(to chan<- prometheus.Metric) {
	for role, n := range d.server.Stats().Denied {
		to <- prometheus.MustNewConstMetric(deniedDesc, prometheus.CounterValue, float64(n), role)
	}
}
