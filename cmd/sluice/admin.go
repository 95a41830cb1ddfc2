package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
)

// startAdmin serves the paths for operators: /metrics, /healthz, /debug/pprof, and those of the built-in gateway.
func (u *up) startAdmin() error {
	u.registry = newRegistry()
	u.mux = adminMux(u.registry)
	u.mux.Handle("/healthz", &u.ready)
	return u.flags.admin.start(u.stages, u.mux)
}

// adminFlags say where a process shows itself to operators, and to whom.
type adminFlags struct {
	address string
	users   []string
}

func (f *adminFlags) add(c *cobra.Command, address, use string) {
	c.Flags().StringVar(&f.address, "admin", address, use+"; of this machine, only processes of this user and of root are answered")
	c.Flags().StringArrayVar(&f.users, "admin-user", nil, "name or number of another user whose processes --admin answers, such as that of Prometheus; may be repeated")
}

// start serves the pages as a stage.
func (f *adminFlags) start(s *stages, pages http.Handler) error {
	guard, err := newGuard(f.address, f.users, pages)
	if err != nil {
		return err
	}
	listener, err := listen("--admin", f.address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: guard, ConnContext: rememberVisitor, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	s.start("admin server", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { server.Close() })
		defer stop()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// newRegistry has the figures of every process of ours.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// adminMux has what every process of ours shows.
func adminMux(registry *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
