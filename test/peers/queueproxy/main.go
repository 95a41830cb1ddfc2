// Command queueproxy is one of the parties of the queue-proxy's benchmark, which runs each in a process of its own to measure its
// CPU time. `queueproxy app` is an application, and `queueproxy knative HOST:PORT` is Knative's queue-proxy in front of it. Its
// handlers are composed as in Knative's main program, and it exports neither metrics nor traces, which is the default.
// `queueproxy relay HOST:PORT` only copies bytes. All parties print their address and serve until they are killed.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	netheader "knative.dev/networking/pkg/http/header"
	netproxy "knative.dev/networking/pkg/http/proxy"
	netstats "knative.dev/networking/pkg/http/stats"
	pkgnet "knative.dev/pkg/network"
	pkghandlers "knative.dev/pkg/network/handlers"
	"knative.dev/serving/pkg/activator"
	pkghttp "knative.dev/serving/pkg/http"
	"knative.dev/serving/pkg/http/handler"
	"knative.dev/serving/pkg/queue"
	"knative.dev/serving/pkg/queue/health"

	"sluice.dev/sluice/test/relay"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var served http.Handler
	switch {
	case len(args) == 1 && args[0] == "app":
		served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Hello World!\n") })
	case len(args) == 2 && args[0] == "knative":
		chain, err := knative(args[1])
		if err != nil {
			return err
		}
		served = chain
	case len(args) == 2 && args[0] == "relay":
		r, err := relay.New(args[1])
		if err != nil {
			return err
		}
		fmt.Println(r.Address)
		select {}
	default:
		return fmt.Errorf("got %q, want app, or knative or relay and the address of an application", args)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return pkgnet.NewServer("", served).Serve(listener)
}

// The limits that the benchmark gives our queue-proxy.
const (
	concurrency   = 100
	timeout       = 5 * time.Minute
	responseStart = time.Minute
	idle          = time.Minute
)

// knative composes the handlers of Knative's queue-proxy, innermost first.
func knative(target string) (http.Handler, error) {
	metrics, tracer := metricnoop.NewMeterProvider(), tracenoop.NewTracerProvider()
	logger := zap.NewNop().Sugar()
	breaker := queue.NewBreaker(queue.BreakerParams{
		QueueDepth: 10 * concurrency, MaxConcurrency: concurrency, InitialCapacity: concurrency,
	})
	stats := netstats.NewRequestStats(time.Now())
	reporter := queue.NewProtobufStatsReporter("pod", time.Second)
	go func() {
		for now := range time.Tick(time.Second) {
			reporter.Report(stats.Report(now))
		}
	}()

	proxy := pkghttp.NewHeaderPruningReverseProxy(target, pkghttp.NoHostOverride, activator.RevisionHeaders, false)
	proxy.Transport = otelhttp.NewTransport(pkgnet.NewProxyAutoTransport(concurrency, concurrency),
		otelhttp.WithTracerProvider(tracer), otelhttp.WithMeterProvider(metrics))
	proxy.ErrorHandler = pkghandlers.Error(logger)
	proxy.BufferPool = netproxy.NewBufferPool()
	proxy.FlushInterval = netproxy.FlushInterval

	chain, err := queue.NewAppRequestMetricsHandler(metrics, proxy, breaker)
	if err != nil {
		return nil, err
	}
	chain = queue.ProxyHandler(tracer.Tracer("peer"), breaker, stats, chain)
	chain = queue.ForwardedShimHandler(chain)
	chain = handler.NewTimeoutHandler(chain, "request timeout", func(*http.Request) (time.Duration, time.Duration, time.Duration) {
		return timeout, responseStart, idle
	}, logger)
	chain = queue.NewRouteTagHandler(chain)
	chain = &handler.HijackTracker{Handler: chain}
	chain = &pkghandlers.Drainer{
		QuietPeriod: 30 * time.Second, Inner: chain,
		HealthCheckUAPrefixes: []string{netheader.ActivatorUserAgent, netheader.AutoscalingUserAgent},
		HealthCheck:           health.ProbeHandler(tracer.Tracer("peer"), func() bool { return true }),
	}
	return otelhttp.NewHandler(chain, "queue", otelhttp.WithMeterProvider(metrics), otelhttp.WithTracerProvider(tracer),
		otelhttp.WithFilter(func(r *http.Request) bool { return !netheader.IsProbe(r) })), nil
}
