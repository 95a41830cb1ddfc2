package dataplane

import (
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/gateway"
)

func gatewayCommand() *cobra.Command {
	var log command.LogFlags
	var server transport.DialOptions
	pages := admin.Options{Address: "127.0.0.1:9901"}
	var node, zone string
	var own envoyGateway
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Run the built-in data plane as a process of its own",
		Long: `Gateway is the built-in data plane: it connects to an xDS server as Envoy would, that of the
sluice up with the same data directory unless --xds names another, and serves the listeners that the server names. Its admin address
has Envoy's paths /ready, /stats/prometheus, /clusters and /config_dump. With --envoy it runs that Envoy as the gateway.`,
		Example: `  sluice gateway
  sluice gateway --data-dir /srv/sluice --admin 127.0.0.1:9901`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := log.Logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			dial, err := server.DialOption(l.Named("xds"))
			if err != nil {
				return err
			}
			if err := server.Await(l); err != nil {
				return err
			}
			if own.path != "" {
				own.options.NodeID, own.options.Zone = node, zone
				return own.run(c.Context(), &server, &pages, l)
			}
			g := gateway.New(gateway.Options{
				XDS: server.Address, Dial: []grpc.DialOption{dial}, NodeID: node, Zone: zone,
				Logger: l.Named("gateway"), Drain: stage.Drain,
				Listening: func(name, address string) { l.Info("listening", "listener", name, "address", address) },
			})
			mux := admin.NewMux(admin.NewRegistry())
			mux.Handle("/", g.Admin())
			parts := stage.NewGroup()
			if err := pages.Serve(parts, mux); err != nil {
				return err
			}
			parts.Start("gateway", g.Run)
			return parts.Stop(parts.Wait(c.Context(), nil))
		},
	}
	log.Add(c)
	server.AddFlags(c.Flags())
	pages.AddFlags(c.Flags(), "address of the admin paths")
	own.addFlags(c.Flags())
	c.Flags().StringVar(&node, "node-id", transport.NodeID("gateway"), "name of this gateway to the xDS server; unique among gateways")
	c.Flags().StringVar(&zone, "zone", "", "zone of this gateway, as locality")
	return c
}
