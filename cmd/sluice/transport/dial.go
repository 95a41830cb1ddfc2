package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/standalone/folder"
)

// DialOptions are how a command reaches an xDS server: through the data directory of a `sluice up` of this machine, or by an address.
type DialOptions struct {
	DataDir    string
	Address    string // host:port or unix:PATH; empty until Resolve unless it is given
	CA         string // PEM file with the authorities that the server's certificate must be from; empty: plain text
	Cert       string // PEM file with the certificate to present
	Key        string // PEM file with its key
	ServerName string // name that the server's certificate must be for; empty: the host of Address

	// Way is set when the address is one end of a way that was made for this process, such as into a cluster.
	Way *Way

	found bool // the address comes from DataDir
}

// Way is a way to an xDS server that begins on this machine.
type Way struct {
	Address string      // host:port on this machine
	TLS     *tls.Config // of the server behind it
	To      string      // what messages call the server
	Remedy  string      // what to do when it does not answer
}

// Use has the options lead over a way.
func (o *DialOptions) Use(w *Way) { o.Way, o.Address = w, w.Address }

// Server is what messages call the xDS server.
func (o *DialOptions) Server() string {
	if o.Way != nil {
		return o.Way.To
	}
	return o.Address
}

// Remedy is what to do when the xDS server does not answer.
func (o *DialOptions) Remedy() string {
	if o.Way != nil {
		return o.Way.Remedy
	}
	return Remedy
}

// AddFlags adds the flags.
func (o *DialOptions) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.DataDir, "data-dir", DefaultDataDir, "data directory of the sluice up to find")
	flags.StringVar(&o.Address, "xds", "",
		"address of the xDS server, host:port or unix:PATH, in place of the socket of --data-dir; with --xds-ca "+DefaultAddress+
			" if not given")
	flags.StringVar(&o.CA, "xds-ca", "",
		"PEM file with the authorities that the xDS server's certificate must be of; without it the connection is plain text")
	flags.StringVar(&o.Cert, "xds-cert", "", "PEM file with the certificate to present to the xDS server")
	flags.StringVar(&o.Key, "xds-key", "", "PEM file with the key of --xds-cert")
	flags.StringVar(&o.ServerName, "xds-server-name", "",
		"name that the xDS server's certificate must be for; empty means the host of --xds")
}

// check finds options that contradict each other.
func (o *DialOptions) check() error {
	switch {
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("--xds-cert and --xds-key belong together: give both or none")
	case o.CA == "" && (o.Cert != "" || o.ServerName != ""):
		return errors.New("--xds-cert and --xds-server-name are for TLS: give --xds-ca too")
	}
	return nil
}

// Resolve sets the address. Reachable and Await find out whether anybody listens there.
func (o *DialOptions) Resolve() error {
	if err := o.check(); err != nil || o.Address != "" {
		return err
	}
	if o.CA != "" { // a certificate is for an address: the socket needs none
		o.Address = DefaultAddress
		return nil
	}
	// Whoever can make a socket in the data directory can pretend to be the server.
	if err := folder.Check(o.DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path, err := socketPath(o.DataDir, xdsSocket)
	o.Address, o.found = UnixScheme+path, true
	return err
}

// Remedy is what to do when no xDS server is found.
const Remedy = "start sluice up, name its data directory with --data-dir, or name its xDS server with --xds"

// Reachable returns an error if no `sluice up` of the data directory listens.
func (o *DialOptions) Reachable() error {
	if !o.found {
		return nil
	}
	if err := reach(strings.TrimPrefix(o.Address, UnixScheme)); err != nil {
		return fmt.Errorf("no sluice up runs with the data directory %s (%w)", o.DataDir, err)
	}
	return nil
}

// Await is Reachable for commands that may be started before `sluice up`: where there is a data directory it only logs that the
// command waits.
func (o *DialOptions) Await(log hclog.Logger) error {
	err := o.Reachable()
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(o.DataDir); missing != nil {
		return fmt.Errorf("%w: %s", err, Remedy)
	}
	log.Warn("waiting for the xDS server", "error", err)
	return nil
}

// DialOption resolves the address and returns the credentials for the server. It reads the files again at each connection. It must come
// after other options. The logger may be nil.
func (o *DialOptions) DialOption(log hclog.Logger) (grpc.DialOption, error) {
	if err := o.Resolve(); err != nil {
		return nil, err
	}
	if o.Way != nil {
		return grpc.WithTransportCredentials(credentials.NewTLS(o.Way.TLS)), nil
	}
	if o.CA == "" {
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	files, err := certificate.Open(certificate.Files{Chain: o.Cert, Key: o.Key, CA: o.CA}, log)
	if err != nil {
		return nil, fmt.Errorf("--xds-ca, --xds-cert and --xds-key: %w", err)
	}
	return grpc.WithTransportCredentials(renewed{files, o.ServerName}), nil
}

// renewed are credentials of a client that read the files at each handshake.
type renewed struct {
	files *certificate.Source
	name  string
}

// ClientHandshake implements credentials.TransportCredentials.
func (r renewed) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	// gRPC goes by the authority rather than by the name in the configuration.
	return credentials.NewTLS(r.files.Client(r.name)).ClientHandshake(ctx, cmp.Or(r.name, authority), conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (renewed) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials")
}

// Info implements credentials.TransportCredentials.
func (renewed) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (r renewed) Clone() credentials.TransportCredentials { return r }

// OverrideServerName implements credentials.TransportCredentials, which no longer uses it.
func (renewed) OverrideServerName(string) error {
	return errors.New("the server's name is part of these credentials")
}

// NodeID names a client of the xDS server by what it is and where it runs: ROLE-HOST-PID.
func NodeID(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%s-%d", role, host, os.Getpid())
}
