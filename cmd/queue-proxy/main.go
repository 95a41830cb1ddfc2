// Command queue-proxy stands before the application in a pod: package queueproxy as a process of its own. The environment variables that
// Knative gives its queue-proxy configure it; `queue-proxy --help` lists them.
//
// It holds no Kubernetes, no xDS and no gRPC: there is one in every pod, so it must stay small.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/attribute"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/dataplane/tracing/otlp"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; it returns its exit status. The request log goes to out, everything else to diagnostics.
func run(args []string, out, diagnostics io.Writer) int {
	for _, arg := range args {
		if arg == "--help" || arg == "-h" || arg == "help" {
			_, _ = io.WriteString(out, help()) // there is nobody to report an error to
			return 0
		}
	}
	if len(args) > 0 {
		fmt.Fprintf(diagnostics, "queue-proxy takes no arguments but --help, got %q: environment variables configure it\n", args)
		return 2
	}
	c, err := readConfig(os.Getenv)
	if err != nil {
		fmt.Fprintf(diagnostics, "%v\n\nqueue-proxy --help says more.\n", err)
		return 2
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "queue-proxy", Level: c.level, Output: diagnostics, JSONFormat: true})
	if c.requestLog {
		c.options.RequestLog = out
	}
	if err := serve(c, logger); err != nil {
		logger.Error("ended", "error", err)
		return 1
	}
	return 0
}

// serve serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
func serve(c config, logger hclog.Logger) error {
	signals, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ready, err := readiness(c.probes, c.options.Target)
	if err != nil {
		return err
	}
	c.options.Ready, c.options.Logger = ready, logger
	c.options.Tracer = newTracer(c, logger)
	defer c.options.Tracer.Close(context.Background())
	proxy := queueproxy.New(c.options)
	defer proxy.Close()
	drain := &drain{proxy: proxy}
	listeners, err := listen(c)
	if err != nil {
		return err
	}
	admin, metrics := newServer(drain.routes()), newServer(metricsRoutes(proxy))
	defer admin.Close()
	defer metrics.Close()
	failed := make(chan error, 3)
	go func() { failed <- proxy.Serve(listeners[0]) }()
	go func() { failed <- admin.Serve(listeners[1]) }()
	go func() { failed <- metrics.Serve(listeners[2]) }()
	logger.Info("serving", "address", listeners[0].Addr().String(), "admin", listeners[1].Addr().String(),
		"metrics", listeners[2].Addr().String(), "application", c.options.Target)

	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-signals.Done():
		stop()
	}
	logger.Info("draining", "quiet", c.options.Quiet, "streams", c.options.StreamDrain, "longest", c.longest)
	ctx, cancel := context.WithCancel(context.Background())
	if c.longest > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), c.longest)
	}
	defer cancel()
	if err := drain.end(ctx); err != nil {
		return fmt.Errorf("draining: requests were cut off: %w", err)
	}
	logger.Info("drained")
	return nil
}

// maxSpans is how many spans may wait to be sent. A sidecar has less memory than a gateway.
const maxSpans = 512

// newTracer returns what makes spans; nil without a collector.
func newTracer(c config, logger hclog.Logger) *tracing.Tracer {
	if !c.tracing.On() {
		return nil
	}
	var attributes []attribute.KeyValue
	for _, a := range []struct{ label, key string }{
		{"namespace", "k8s.namespace.name"}, {"pod", "k8s.pod.name"}, {"service", "kn.service.name"},
		{"configuration", "kn.configuration.name"}, {"revision", "kn.revision.name"},
	} {
		if value := c.options.Labels[a.label]; value != "" {
			attributes = append(attributes, attribute.String(a.key, value))
		}
	}
	t := tracing.New(tracing.Options{
		Service: tracing.QueueProxy, Instance: c.options.Pod, Attributes: attributes, Exporter: otlp.New, Queue: maxSpans,
		Logger: logger.Named("tracing"),
	})
	t.Configure(c.tracing)
	return t
}

// listen opens the three ports, or none.
func listen(c config) ([]net.Listener, error) {
	var all []net.Listener
	for _, port := range []int{c.servingPort, c.adminPort, c.metricsPort} {
		l, err := net.Listen("tcp", net.JoinHostPort(c.host, strconv.Itoa(port)))
		if err != nil {
			for _, opened := range all {
				opened.Close()
			}
			return nil, fmt.Errorf("listening: %w", err)
		}
		all = append(all, l)
	}
	return all, nil
}

// readiness joins the probes: an application is ready when it passes all of them.
func readiness(probes []probe, target string) (func(context.Context) error, error) {
	probers := make([]*queueproxy.Prober, len(probes))
	for i, p := range probes {
		prober, err := queueproxy.NewProber(p.model(), target, nil)
		if err != nil {
			return nil, err
		}
		probers[i] = prober
	}
	return func(ctx context.Context) error {
		for _, prober := range probers {
			if err := prober.Ready(ctx); err != nil {
				return cmp.Or(prober.LastError(), err) // what the application did says more than that the time is over
			}
		}
		return nil
	}, nil
}

func metricsRoutes(proxy *queueproxy.Proxy) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", proxy.Metrics())
	return routes
}

// newServer returns a server for the platform's own requests. It has no write timeout, for a drain may take long.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: nil,
	}
}

var errEnding = errors.New("shutting down")
