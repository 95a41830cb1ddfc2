package main

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"sluice.dev/sluice/dataplane/activator"
)

func activatorCommand() *cobra.Command {
	var log logFlags
	var opts activator.Options
	var server xdsFlags
	var admin adminFlags
	c := &cobra.Command{
		Use:   "activator",
		Short: "Run an activator as a process of its own",
		Long: `Activator holds requests for revisions that have no ready replica, or too few. It connects to an
xDS server, that of the sluice up with the same data directory unless --xds names another, to learn where the replicas are, and reports what waits, which is what wakes a revision
from zero. Its admin address has /metrics, /healthz and /debug/pprof.

On SIGTERM it has the control plane name it to no gateway any more, and ends when requests have
stopped coming.`,
		Example: `  sluice activator --listen 127.0.0.1:8012 --admin 127.0.0.1:9092`,
		Args:    cobra.NoArgs,
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
			opts.XDS, opts.Dial = server.address, []grpc.DialOption{dial}
			opts.Logger, opts.Drain = l.Named("activator"), drain
			a, err := activator.New(opts)
			if err != nil {
				return err
			}
			l.Info("listening", "address", a.Address())
			s := newStages()
			if err := admin.start(s, activatorAdmin(a)); err != nil {
				a.Close()
				return err
			}
			s.start("activator", a.Run)
			return s.stop(s.wait(c.Context()))
		},
	}
	log.add(c)
	server.add(c)
	c.Flags().StringVar(&opts.Listen, "listen", "127.0.0.1:8012", "address to take requests on")
	c.Flags().StringVar(&opts.Address, "address", "", "address (IP:port) at which gateways reach it; empty is that of --listen")
	admin.add(c, "127.0.0.1:9092", "address of the admin paths")
	c.Flags().StringVar(&opts.NodeID, "node-id", activatorID(), "name of this activator to the xDS server; unique among activators")
	c.Flags().StringVar(&opts.Zone, "zone", "", "zone of this activator, as locality")
	return c
}

// activatorID names an activator after where it runs.
func activatorID() string { return "activator-" + strings.TrimPrefix(nodeID(), "gateway-") }

// activatorAdmin are the admin paths of an activator's process.
func activatorAdmin(a *activator.Activator) http.Handler {
	registry := newRegistry()
	registry.MustRegister(a.Collector())
	mux := adminMux(registry)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		switch s := a.Stats(); {
		case s.Draining:
			http.Error(w, "draining", http.StatusServiceUnavailable)
		case !s.Connected:
			http.Error(w, "the control plane has not answered yet", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n")) // a client that has gone needs no answer
		}
	})
	return mux
}
