package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/standalone/socket"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/allow"
)

// The values of ListenOptions.Address: the default, and no address.
const (
	DefaultAddress = "127.0.0.1:18000"
	NoAddress      = "none"
)

// ListenOptions say where xDS is served beside the socket in the data directory, and to whom.
type ListenOptions struct {
	Address  string       // host:port, or NoAddress
	Listener net.Listener // where connections come from in place of Address; nil: Address
	Cert     string       // PEM file with the certificate chain; empty: plain text
	Key      string       // PEM file with its key
	ClientCA string       // PEM file with the authorities that clients' certificates must be from; empty: clients need no certificate
	Allow    []string     // who may have which role, as package allow reads it; empty: any certificate may have any role
	Insecure bool         // believe clients what they say of themselves, in plain text
}

// AddFlags adds the flags; the values are the defaults.
func (o *ListenOptions) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Address, "xds", o.Address,
		"address of the xDS server for proxyless gRPC clients; gateways, activators and whoever asks for the status use the socket "+
			"run/xds.sock in the data directory, or this with --xds-client-ca; anything but loopback needs --xds-tls-cert; none for none")
	flags.StringVar(&o.Cert, "xds-tls-cert", o.Cert, "PEM file with the certificate chain of the xDS server; read again when it changes")
	flags.StringVar(&o.Key, "xds-tls-key", o.Key, "PEM file with the key of --xds-tls-cert")
	flags.StringVar(&o.ClientCA, "xds-client-ca", o.ClientCA,
		"PEM file with the authorities that xDS clients must have a certificate of; without it none is asked for")
	flags.StringArrayVar(&o.Allow, "xds-allow", o.Allow,
		"ROLE=IDENTITY or ROLE/NODE=IDENTITY: who may be a gateway, activator, mesh or read the status, by a URI or DNS name of the "+
			"certificate; may be repeated, and without it any certificate may be anything")
	flags.BoolVar(&o.Insecure, "xds-insecure", o.Insecure,
		"believe whoever reaches --xds, in plain text and on any address: such a client can be a gateway or an activator, reads keys of "+
			"certificates, and reports load")
}

// Check finds options that contradict each other.
func (o *ListenOptions) Check() error {
	switch {
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("--xds-tls-cert and --xds-tls-key belong together: give both or none")
	case o.ClientCA != "" && o.Cert == "":
		return errors.New("--xds-client-ca asks clients for certificates, which needs TLS: give --xds-tls-cert and --xds-tls-key too")
	case len(o.Allow) > 0 && o.ClientCA == "":
		return errors.New("--xds-allow goes by clients' certificates: give --xds-client-ca too")
	case o.Insecure && o.Cert != "":
		return errors.New("--xds-insecure is for plain text: leave it out, or --xds-tls-cert and --xds-tls-key")
	}
	return o.checkAddress()
}

// checkAddress keeps what clients get without a proof of who they are within this machine.
func (o *ListenOptions) checkAddress() error {
	secured := o.Cert != "" || o.Insecure
	switch {
	case o.Address == NoAddress && secured:
		return errors.New("--xds none has no address for --xds-tls-cert or --xds-insecure: leave these out, or give one")
	case o.Address == NoAddress || secured:
		return nil
	}
	address, err := net.ResolveTCPAddr("tcp", o.Address)
	if err != nil {
		return fmt.Errorf("reading --xds %s: %w; want host:port", o.Address, err)
	}
	if !address.IP.IsLoopback() {
		return fmt.Errorf("--xds %s is not on loopback: whoever reaches it could read where everything is; "+
			"give --xds-tls-cert and --xds-tls-key, and --xds-client-ca for clients to be known, or --xds-insecure where the network is "+
			"trusted", o.Address)
	}
	return nil
}

// Listeners are the ways to the xDS server: one in memory for clients in this process, a socket for this user in a folder that nobody
// else may enter, and an address for everybody.
type Listeners struct {
	tcp    net.Listener        // nil: none
	files  *certificate.Source // nil: plain text on tcp
	list   *allow.List         // nil: a client that proved who it is may have any role
	proven bool                // clients on tcp have a certificate, or are believed without one
	memory *bufconn.Listener
	socket string      // unix: and its path; empty before Serve
	server *xds.Server // nil before Serve
}

// memoryBuffer is how many bytes may be under way inside the process, each way.
const memoryBuffer = 256 << 10

// Open listens on the address. Nobody is served before Serve.
func (o *ListenOptions) Open(log hclog.Logger) (*Listeners, error) {
	l := &Listeners{memory: bufconn.Listen(memoryBuffer), proven: o.ClientCA != "" || o.Insecure}
	var err error
	if o.Cert != "" {
		if l.files, err = certificate.Open(certificate.Files{Chain: o.Cert, Key: o.Key, CA: o.ClientCA}, log); err != nil {
			return nil, fmt.Errorf("--xds-tls-cert, --xds-tls-key and --xds-client-ca: %w", err)
		}
	}
	if len(o.Allow) > 0 {
		if l.list, err = allow.Parse(o.Allow); err != nil {
			return nil, fmt.Errorf("--xds-allow %w", err)
		}
	}
	switch {
	case o.Listener != nil:
		l.tcp = o.Listener
	case o.Address != NoAddress:
		l.tcp, err = socket.ListenFor("--xds", o.Address)
	}
	return l, err
}

// Close closes the listeners.
func (l *Listeners) Close() {
	_ = l.memory.Close() // it does not fail
	if l.tcp != nil {
		l.tcp.Close()
	}
}

// isOurs reports whether a client came in memory or through the socket, which proves that it is this user's.
func isOurs(c xds.Caller) bool { return c.Address != nil && c.Address.Network() != "tcp" }

// Permits is xds.Options.Allow: it returns why a client may not have the role that it wants.
func (l *Listeners) Permits(c xds.Caller) error {
	switch {
	case isOurs(c):
		return nil
	case l.list != nil:
		return l.list.Check(c.Role, c.Node, c.Identities)
	case l.proven || c.Role == contract.RoleName(contract.RoleMesh):
		return nil
	}
	return fmt.Errorf("the address %s of the xDS server is for proxyless gRPC clients alone, and this client wants the role %q: "+
		"have it use %s, give sluice up --xds-client-ca and the client a certificate, or start sluice up with "+
		"--xds-insecure", l.tcp.Addr(), c.Role, l.socket)
}

// Trusts is xds.Options.Trust: whether a client may have more than the resources that it names, and whether its load counts.
func (l *Listeners) Trusts(c xds.Caller) bool { return l.proven || isOurs(c) }

// Socket is the address of the socket, unix:PATH; empty before Serve.
func (l *Listeners) Socket() string { return l.socket }

// Serve runs the server behind the listeners, as parts of a process. The data directory must be this process's own: Serve removes what
// an earlier process left there.
func (l *Listeners) Serve(parts *stage.Group, server *xds.Server, dataDir string) error {
	path, err := MakeSocketPath(dataDir, xdsSocket)
	if err != nil {
		return err
	}
	unix, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("making the socket of the xDS server: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("making the socket of the xDS server: %w", err)
	}
	l.server, l.socket = server, UnixScheme+path
	parts.Start("xds server in memory", serve(server, l.memory))
	parts.Start("xds server on its socket", serve(server, unix))
	if l.tcp != nil {
		l.serveTCP(parts)
	}
	// The server ends its streams before the listeners close: clients reconnect.
	parts.Start("xds streams", func(ctx context.Context) error {
		<-ctx.Done()
		server.Close()
		return nil
	})
	return nil
}

func (l *Listeners) serveTCP(parts *stage.Group) {
	var secure []grpc.ServerOption
	if l.files != nil {
		secure = append(secure, grpc.Creds(credentials.NewTLS(l.files.Server("h2"))))
		parts.Start("xds certificates", func(ctx context.Context) error { l.files.Run(ctx, nil); return nil })
	}
	parts.Start("xds server", serve(l.server, l.tcp, secure...))
}

// InMemory is what clients in this process dial, with the options of Dial.
const InMemory = "passthrough:///inside"

// Dial returns the options for clients in this process.
func (l *Listeners) Dial() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.memory.DialContext(ctx) }),
	}
}

// serve serves one listener.
func serve(server *xds.Server, listener net.Listener, more ...grpc.ServerOption) func(context.Context) error {
	return func(ctx context.Context) error {
		g := grpc.NewServer(append(xds.ServerOptions(), more...)...)
		server.Register(g)
		defer context.AfterFunc(ctx, g.Stop)()
		return g.Serve(listener)
	}
}
