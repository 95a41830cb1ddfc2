package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/standalone/folder"
)

// xdsFlags are how a command reaches an xDS server: through the data directory of a `sluice up` of this machine, or by an address.
type xdsFlags struct {
	dataDir    string
	address    string // empty until resolve, unless it is given
	found      bool   // the address comes from dataDir
	ca         string
	cert       string
	key        string
	serverName string
}

func (f *xdsFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.dataDir, "data-dir", defaultDataDir, "data directory of the sluice up to find")
	flags.StringVar(&f.address, "xds", "", "address of the xDS server, host:port or unix:PATH, in place of the socket of --data-dir; with --xds-ca "+defaultXDS+" if not given")
	flags.StringVar(&f.ca, "xds-ca", "", "PEM file with the authorities that the xDS server's certificate must be of; without it the connection is plain text")
	flags.StringVar(&f.cert, "xds-cert", "", "PEM file with the certificate to present to the xDS server")
	flags.StringVar(&f.key, "xds-key", "", "PEM file with the key of --xds-cert")
	flags.StringVar(&f.serverName, "xds-server-name", "", "name that the xDS server's certificate must be for; empty means the host of --xds")
}

// check finds flags that contradict each other.
func (f *xdsFlags) check() error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return errors.New("--xds-cert and --xds-key belong together: give both or none")
	case f.ca == "" && (f.cert != "" || f.serverName != ""):
		return errors.New("--xds-cert and --xds-server-name are for TLS: give --xds-ca too")
	}
	return nil
}

// resolve settles on an address. Whether anybody is there is found out by wait and by reachable.
func (f *xdsFlags) resolve() error {
	if err := f.check(); err != nil || f.address != "" {
		return err
	}
	if f.ca != "" { // a certificate is for an address: the socket needs none
		f.address = defaultXDS
		return nil
	}
	// Who could put a socket there could be whatever server he likes.
	if err := folder.Check(f.dataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path, err := socketPath(f.dataDir, xdsSocket)
	f.address, f.found = unixScheme+path, true
	return err
}

// xdsRemedy is what to do when there is no xDS server where one is looked for.
const xdsRemedy = "start sluice up, name its data directory with --data-dir, or name its xDS server with --xds"

// reachable returns an error if nobody listens where a `sluice up` of the data directory would.
func (f *xdsFlags) reachable() error {
	if !f.found {
		return nil
	}
	if err := reach(strings.TrimPrefix(f.address, unixScheme)); err != nil {
		return fmt.Errorf("no sluice up runs with the data directory %s (%w)", f.dataDir, err)
	}
	return nil
}

// await is reachable for commands that may be started before `sluice up` is: where there is a data directory they only say what they
// wait for.
func (f *xdsFlags) await(log hclog.Logger) error {
	err := f.reachable()
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(f.dataDir); missing != nil {
		return fmt.Errorf("%w: %s", err, xdsRemedy)
	}
	log.Warn("the xDS server is waited for", "error", err)
	return nil
}

// dialOption has the credentials for the server. The files are read again at each connection. It belongs after other options. The logger may be nil.
func (f *xdsFlags) dialOption(log hclog.Logger) (grpc.DialOption, error) {
	if err := f.resolve(); err != nil {
		return nil, err
	}
	if f.ca == "" {
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	files, err := certificate.Open(certificate.Files{Chain: f.cert, Key: f.key, CA: f.ca}, log)
	if err != nil {
		return nil, fmt.Errorf("--xds-ca, --xds-cert and --xds-key: %w", err)
	}
	return grpc.WithTransportCredentials(renewed{files, f.serverName}), nil
}

// renewed are credentials of a client that make each handshake with what the files hold then.
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
