// Package admin is what a process of ours shows to operators on its --admin address: metrics, profiles and the pages of its gateway. It
// decides whom it answers, and must not know what the pages say.
package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/standalone/socket"
)

// Options say where a process serves its pages, and whom it answers.
type Options struct {
	Address string   // host:port
	Users   []string // names or numbers of users that are answered beside this one and root
}

// AddFlags adds the flags; the values are the defaults. Pages says what the address has.
func (o *Options) AddFlags(flags *pflag.FlagSet, pages string) {
	flags.StringVar(&o.Address, "admin", o.Address, pages+"; of this machine, only processes of this user and of root are answered")
	flags.StringArrayVar(&o.Users, "admin-user", o.Users,
		"name or number of another user whose processes --admin answers, such as that of Prometheus; may be repeated")
}

// Serve serves the pages as a part of the process.
func (o *Options) Serve(parts *stage.Group, pages http.Handler) error {
	guard, err := newGuard(o.Address, o.Users, pages)
	if err != nil {
		return err
	}
	listener, err := socket.ListenFor("--admin", o.Address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: guard, ConnContext: rememberVisitor, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	parts.Start("admin server", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { server.Close() })
		defer stop()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// NewRegistry makes a registry with the metrics that every process of ours has.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// NewMux makes a mux with the pages that every process of ours has.
func NewMux(registry *prometheus.Registry) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
