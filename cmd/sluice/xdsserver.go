package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/contract"
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
	flags.StringVar(&f.address, "xds", defaultXDS, "address of the xDS server for proxyless gRPC clients; gateways, activators and who asks for the status use the socket run/xds.sock in the data directory, or this with --xds-client-ca; anything but loopback needs --xds-tls-cert; none for none")
	flags.StringVar(&f.cert, "xds-tls-cert", "", "PEM file with the certificate chain of the xDS server; read again when it changes")
	flags.StringVar(&f.key, "xds-tls-key", "", "PEM file with the key of --xds-tls-cert")
	flags.StringVar(&f.clientCA, "xds-client-ca", "", "PEM file with the authorities that xDS clients must have a certificate of; without it none is asked for")
	flags.StringArrayVar(&f.allow, "xds-allow", nil, "ROLE=IDENTITY or ROLE/NODE=IDENTITY: who may be a gateway, activator, mesh or read the status, by a URI or DNS name of the certificate; may be repeated, and without it any certificate may be anything")
	flags.BoolVar(&f.insecure, "xds-insecure", false, "take whoever reaches --xds for what he says that he is, in plain text and on any address: he can be a gateway or an activator, reads keys of certificates, and reports load")
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
	}
	return f.checkAddress()
}

// checkAddress holds what is served without a proof to this machine.
func (f *xdsServerFlags) checkAddress() error {
	secured := f.cert != "" || f.insecure
	switch {
	case f.address == noXDS && secured:
		return errors.New("--xds none has no address for --xds-tls-cert or --xds-insecure: leave these out, or give one")
	case f.address == noXDS || secured:
		return nil
	}
	address, err := net.ResolveTCPAddr("tcp", f.address)
	if err != nil {
		return fmt.Errorf("reading --xds %s: %w; want host:port", f.address, err)
	}
	if !address.IP.IsLoopback() {
		return fmt.Errorf("--xds %s is not on loopback: whoever reaches it could read where everything is; "+
			"give --xds-tls-cert and --xds-tls-key, and --xds-client-ca for clients to be known, or --xds-insecure where the network is trusted", f.address)
	}
	return nil
}

// The values of --xds: where it is by default, and that there is none.
const (
	defaultXDS = "127.0.0.1:18000"
	noXDS      = "none"
)

// xdsDoors are the ways to the xDS server: for what belongs to this process one in memory, for this user a socket in a folder that
// nobody else may enter, and for everybody an address.
type xdsDoors struct {
	outside net.Listener        // nil: none
	files   *certificate.Source // nil: plain text outside
	list    *allow.List         // nil: whoever proves who he is may have any role
	proven  bool                // whoever comes from outside has a certificate, or is to be believed without one
	inside  *bufconn.Listener
	socket  string      // unix: and its path, as soon as they are served
	server  *xds.Server // likewise
}

// insideBuffer is how many bytes may be under way inside the process, each way.
const insideBuffer = 256 << 10

// open listens on the address; nobody is served yet.
func (f *xdsServerFlags) open(log hclog.Logger) (*xdsDoors, error) {
	d := &xdsDoors{inside: bufconn.Listen(insideBuffer), proven: f.clientCA != "" || f.insecure}
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
	if f.address != noXDS {
		d.outside, err = listen("--xds", f.address)
	}
	return d, err
}

// isOurs is whether a client came in by a way that proves that it is this user's: memory, or the socket.
func isOurs(c xds.Caller) bool { return c.Address != nil && c.Address.Network() != "tcp" }

// permits decides who may be what.
func (d *xdsDoors) permits(c xds.Caller) error {
	switch {
	case isOurs(c):
		return nil
	case d.list != nil:
		return d.list.Check(c.Role, c.Node, c.Identities)
	case d.proven || c.Role == contract.RoleName(contract.RoleMesh):
		return nil
	}
	return fmt.Errorf("the address %s of the xDS server is for proxyless gRPC clients alone, and this client wants the role %q: "+
		"have it use %s, give sluice up --xds-client-ca and the client a certificate, or start sluice up with --xds-insecure", d.outside.Addr(), c.Role, d.socket)
}

// trusts is whether a client may have more than what it names, and its load counts.
func (d *xdsDoors) trusts(c xds.Caller) bool { return d.proven || isOurs(c) }

// serve runs the server behind the doors. The data directory must be this process's own: what an earlier one left there is removed.
func (d *xdsDoors) serve(s *stages, server *xds.Server, dataDir string) error {
	path, err := makeSocketPath(dataDir, xdsSocket)
	if err != nil {
		return err
	}
	socket, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("making the socket of the xDS server: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("making the socket of the xDS server: %w", err)
	}
	d.server, d.socket = server, unixScheme+path
	s.start("xds server inside", serveXDS(server, d.inside))
	s.start("xds server on its socket", serveXDS(server, socket))
	if d.outside != nil {
		d.serveOutside(s)
	}
	// Before the doors close, whoever is still there is told to come again.
	s.start("xds streams", func(ctx context.Context) error {
		<-ctx.Done()
		server.Close()
		return nil
	})
	return nil
}

func (d *xdsDoors) serveOutside(s *stages) {
	var secure []grpc.ServerOption
	if d.files != nil {
		secure = append(secure, grpc.Creds(credentials.NewTLS(d.files.Server("h2"))))
		s.start("xds certificates", func(ctx context.Context) error { d.files.Run(ctx, nil); return nil })
	}
	s.start("xds server", serveXDS(d.server, d.outside, secure...))
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
