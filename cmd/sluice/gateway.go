package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/model"
)

func gatewayCommand() *cobra.Command {
	var log logFlags
	var server xdsFlags
	var admin adminFlags
	var node, zone string
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Run the built-in data plane as a process of its own",
		Long: `Gateway is the built-in data plane: it connects to an xDS server as Envoy would, that of the
sluice up with the same data directory unless --xds names another, and serves the listeners that it is told. Its admin address has Envoy's paths /ready, /stats/prometheus, /clusters
and /config_dump.`,
		Example: `  sluice gateway
  sluice gateway --data-dir /srv/sluice --admin 127.0.0.1:9901`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := log.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			dial, err := server.dialOption(l.Named("xds"))
			if err != nil {
				return err
			}
			if err := server.await(l); err != nil {
				return err
			}
			g := gateway.New(gateway.Options{
				XDS: server.address, Dial: []grpc.DialOption{dial}, NodeID: node, Zone: zone, Logger: l.Named("gateway"), Drain: drain,
				Listening: func(name, address string) { l.Info("listening", "listener", name, "address", address) },
			})
			mux := adminMux(newRegistry())
			mux.Handle("/", g.Admin())
			s := newStages()
			if err := admin.start(s, mux); err != nil {
				return err
			}
			s.start("gateway", g.Run)
			return s.stop(s.wait(c.Context()))
		},
	}
	log.add(c)
	server.add(c)
	admin.add(c, "127.0.0.1:9901", "address of the admin paths")
	c.Flags().StringVar(&node, "node-id", nodeID(), "name of this gateway to the xDS server; unique among gateways")
	c.Flags().StringVar(&zone, "zone", "", "zone of this gateway, as locality")
	return c
}

// nodeID names a gateway after where it runs.
func nodeID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("gateway-%s-%d", host, os.Getpid())
}

// The values of --gateway.
const (
	gatewayAuto    = "auto"
	gatewayBuiltin = "builtin"
	gatewayEnvoy   = "envoy"
	gatewayNone    = "none"
)

const routesUsage = "the form in which routes reach gateways: scoped, those of each host a resource of its own (SRDS), so that a change costs " +
	"what changed, or inline, all in one resource, for gateways without SRDS (Envoy and the built-in one have it, MOSN has not)"

// routeForm reads --routes.
func routeForm(flag string) (model.RouteForm, error) {
	switch form := model.RouteForm(flag); form {
	case model.Inline, model.Scoped:
		return form, nil
	}
	return "", fmt.Errorf("--routes %q is neither %s nor %s", flag, model.Scoped, model.Inline)
}

// startGateway starts the data plane that the flags ask for.
func (u *up) startGateway(envoyPath string) error {
	switch {
	case u.flags.gateway == gatewayNone:
		u.ready.set() // a data plane connects when it pleases
		return nil
	case envoyPath != "":
		return u.startEnvoy(envoyPath)
	}
	log := u.log.Named("gateway")
	g := gateway.New(gateway.Options{
		XDS: insideTarget, Dial: u.doors.dial(), NodeID: nodeID(), Logger: log, Drain: drain,
		Listening: func(name, address string) {
			log.Debug("listening", "listener", name, "address", address)
			if name == "http" {
				u.ready.set()
			}
		},
		Failed: func(name, address string, err error) {
			log.Error("cannot listen", "listener", name, "address", address, "error", err)
		},
	})
	u.mux.Handle("/", g.Admin())
	u.stages.start("gateway", g.Run)
	return nil
}
