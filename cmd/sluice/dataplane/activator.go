package dataplane

import (
	"net/http"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/activator"
)

func activatorCommand() *cobra.Command {
	var log command.LogFlags
	var opts activator.Options
	var server transport.DialOptions
	pages := admin.Options{Address: "127.0.0.1:9092"}
	c := &cobra.Command{
		Use:   "activator",
		Short: "Run an activator as a process of its own",
		Long: `Activator holds requests for revisions that have no ready replica, or too few. It connects to an
xDS server, that of the sluice up with the same data directory unless --xds names another, to learn where the replicas are. It reports
what waits, which wakes a revision from zero. Its admin address has /metrics, /healthz and /debug/pprof.

On SIGTERM it tells the control plane, which then names it to no gateway any more, and ends when requests
have stopped coming.`,
		Example: `  sluice activator --listen 127.0.0.1:8012 --admin 127.0.0.1:9092`,
		Args:    cobra.NoArgs,
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
			opts.XDS, opts.Dial = server.Address, []grpc.DialOption{dial}
			opts.Logger, opts.Drain = l.Named("activator"), stage.Drain
			a, err := activator.New(opts)
			if err != nil {
				return err
			}
			l.Info("listening", "address", a.Address())
			parts := stage.NewGroup()
			if err := pages.Serve(parts, activatorPages(a)); err != nil {
				a.Close()
				return err
			}
			parts.Start("activator", a.Run)
			return parts.Stop(parts.Wait(c.Context(), nil))
		},
	}
	log.Add(c)
	server.AddFlags(c.Flags())
	c.Flags().StringVar(&opts.Listen, "listen", "127.0.0.1:8012", "address to take requests on")
	c.Flags().StringVar(&opts.Address, "address", "", "address (IP:port) at which gateways reach it; empty is that of --listen")
	pages.AddFlags(c.Flags(), "address of the admin paths")
	c.Flags().StringVar(&opts.NodeID, "node-id", transport.NodeID("activator"),
		"name of this activator to the xDS server; unique among activators")
	c.Flags().StringVar(&opts.Zone, "zone", "", "zone of this activator, as locality")
	return c
}

// activatorPages are the pages of an activator's process.
func activatorPages(a *activator.Activator) http.Handler {
	registry := admin.NewRegistry()
	registry.MustRegister(a.Collector())
	mux := admin.NewMux(registry)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		switch s := a.Stats(); {
		case s.Draining:
			http.Error(w, "draining", http.StatusServiceUnavailable)
		case !s.Connected:
			http.Error(w, "the control plane has not answered yet", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n")) // an error means that the client is gone
		}
	})
	return mux
}
