package dataplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/envoy"
)

// envoyGateway is a gateway that is an Envoy, supervised by this process: restarted when it ends by itself, and drained at the end.
type envoyGateway struct {
	path, dir string
	options   envoy.Options
}

func (g *envoyGateway) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&g.path, "envoy", "", "path of an Envoy to run in place of the built-in data plane")
	flags.StringVar(&g.dir, "envoy-dir", "", "folder for the files of that Envoy, for this user alone; by default a temporary one")
	flags.Int64Var(&g.options.Connections, "max-connections", 100_000, "how many connections of clients that Envoy takes at a time")
	flags.Uint64Var(&g.options.Memory, "max-memory", 2<<30, "how many bytes of memory Envoy may allocate; near that it refuses requests")
}

// run runs Envoy until the context ends, and serves its pages.
func (g *envoyGateway) run(ctx context.Context, server *transport.DialOptions, pages *admin.Options, log hclog.Logger) error {
	path, err := envoy.Find(g.path)
	if err != nil {
		return err
	}
	if _, err := envoy.Check(ctx, path); err != nil {
		return err
	}
	dir, remove, err := g.folder()
	if err != nil {
		return err
	}
	defer remove()
	o := g.options
	o.XDS, o.Admin = server.Address, transport.UnixScheme+filepath.Join(dir, "admin.sock")
	if server.CA != "" {
		o.TLS = &envoy.TLS{CA: server.CA, ServerName: server.ServerName, Certificate: server.Cert, Key: server.Key, Dir: dir}
		if err := o.TLS.WriteSecrets(); err != nil {
			return err
		}
	}
	bootstrap, err := envoy.Bootstrap(o)
	if err != nil {
		return err
	}
	parts := stage.NewGroup()
	mux := http.NewServeMux()
	mux.Handle("/", admin.EnvoyPages(o.Admin))
	if err := pages.Serve(parts, mux); err != nil {
		return err
	}
	parts.Start("envoy", func(ctx context.Context) error {
		return envoy.Run(ctx, envoy.Supervise{
			Path: path, Dir: dir, Bootstrap: bootstrap, Admin: o.Admin, Logger: log.Named("envoy"), Drain: stage.Drain,
		})
	})
	return parts.Stop(parts.Wait(ctx, nil))
}

// folder returns the folder of Envoy's files, and what removes it if it is a temporary one. A socket of an earlier run is gone.
func (g *envoyGateway) folder() (dir string, remove func(), err error) {
	if g.dir == "" {
		dir, err = os.MkdirTemp("", "sluice-gateway-")
		if err != nil {
			return "", nil, fmt.Errorf("making a folder for Envoy: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("making --envoy-dir: %w", err)
	}
	if err := os.Remove(filepath.Join(g.dir, "admin.sock")); err != nil && !os.IsNotExist(err) {
		return "", nil, fmt.Errorf("removing the socket of an earlier run: %w", err)
	}
	return g.dir, func() {}, nil
}
