package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	netprobe "knative.dev/networking/pkg/http/probe"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	pkgnet "knative.dev/pkg/network"
	"knative.dev/serving/pkg/activator/config"
	"knative.dev/serving/pkg/activator/handler"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	asmetrics "knative.dev/serving/pkg/autoscaler/metrics"
	revisions "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision/fake"
	pkghttp "knative.dev/serving/pkg/http"
	timeouts "knative.dev/serving/pkg/http/handler"
	"knative.dev/serving/pkg/queue"
)

// Defaults of Knative's activator: idle connections in total and per host (MAX_IDLE_PROXY_CONNS, -_PER_HOST), and the number of
// requests that may wait.
const (
	maxIdle, maxIdlePerHost = 1000, 100
	queueDepth              = 10_000
)

// fixed replaces Knative's throttler for one replica: it has a breaker for the revision and one for the replica.
type fixed struct {
	target            string
	revision, replica *queue.Breaker
}

func newFixed(target string) fixed {
	return fixed{
		target: target,
		revision: queue.NewBreaker(queue.BreakerParams{
			QueueDepth: queueDepth, MaxConcurrency: queue.MaxBreakerCapacity, InitialCapacity: concurrency,
		}),
		replica: queue.NewBreaker(queue.BreakerParams{QueueDepth: queueDepth, MaxConcurrency: concurrency, InitialCapacity: concurrency}),
	}
}

// Try calls f with the address of the replica when there is room for one more request.
func (t fixed) Try(ctx context.Context, _ types.NamespacedName, f func(string, bool) error) error {
	for {
		var result error
		var done bool
		err := t.revision.Maybe(ctx, func() {
			release, ok := t.replica.Reserve(ctx)
			if !ok {
				return
			}
			defer release()
			done, result = true, f(t.target, false)
		})
		if err != nil || done {
			return firstOf(err, result)
		}
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// knative composes the handlers of Knative's activator, innermost first.
func knative(target string) http.Handler {
	metrics, tracer, logger := metricnoop.NewMeterProvider(), tracenoop.NewTracerProvider(), zap.NewNop().Sugar()
	ctx, _ := injection.Fake.SetupInformers(logging.WithLogger(context.Background(), logger), &rest.Config{})
	_ = revisions.Get(ctx).Informer().GetIndexer().Add(&v1.Revision{ // fails only for objects without a name
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: revision},
		Spec:       v1.RevisionSpec{ContainerConcurrency: pointer(concurrency), TimeoutSeconds: pointer(timeoutSeconds)},
	})
	reports := make(chan []asmetrics.StatMessage)
	go func() {
		for range reports { // discarded
		}
	}()
	reporter := handler.NewConcurrencyReporter(ctx, "pod", reports, metrics)
	go reporter.Run(ctx.Done())

	chain := handler.New(ctx, newFixed(target), pkgnet.NewProxyAutoTransport(maxIdle, maxIdlePerHost), false, logger, false,
		tracer, metrics)
	chain = timeouts.NewTimeoutHandler(chain, "activator request timeout",
		func(r *http.Request) (time.Duration, time.Duration, time.Duration) {
			return time.Duration(*handler.RevisionFrom(r.Context()).Spec.TimeoutSeconds) * time.Second, 0, 0
		}, logger)
	chain = reporter.Handler(chain)
	chain = handler.NewTracingAttributeHandler(tracer, chain)
	if logged, err := pkghttp.NewRequestLogHandler(chain, io.Discard, "", nil, false); err == nil { // fails only for a bad template
		chain = logged
	}
	chain = handler.NewMetricAttributeHandler("pod", chain)
	chain = handler.WrapActivatorHandlerWithFullDuplex(chain, logger)
	chain = handler.NewContextHandler(ctx, chain, config.NewStore(logger))
	chain = otelhttp.NewHandler(chain, "handle", otelhttp.WithTracerProvider(tracer), otelhttp.WithMeterProvider(metrics))
	chain = &handler.ProbeHandler{NextHandler: chain}
	chain = netprobe.NewHandler(chain)
	return &handler.HealthHandler{HealthCheck: func() error { return nil }, NextHandler: chain, Logger: logger}
}

func pointer(n int64) *int64 { return &n }
