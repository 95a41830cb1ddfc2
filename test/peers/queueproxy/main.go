// Command queueproxy is one of the parties that the benchmark of the queue-proxy starts as processes of their own, so that
// the processor time of each can be told: `queueproxy app` is an application, `queueproxy knative HOST:PORT` is
// Knative's queue-proxy before it, its handlers composed as its main program composes them, with neither metrics nor
// traces exported as by default, and `queueproxy relay HOST:PORT` copies bytes and does nothing else. All
// print their address and serve until they are killed.
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

// The same limits as the benchmark gives to ours.
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
