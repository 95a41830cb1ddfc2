package tracing

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"sluice.dev/sluice/model"
)

// QueueProxy is the Service of queue-proxies. They are no clients of xDS, so the contract has no role for them.
const QueueProxy = "queue-proxy"

// Options of a Tracer. Service and Exporter are required.
type Options struct {
	// Service is the resource attribute service.name: the role, such as contract.Activator. The environment variable OTEL_SERVICE_NAME
	// does not change it, but OTEL_RESOURCE_ATTRIBUTES adds attributes.
	Service string
	// Instance is service.instance.id, which is unique among those of a role; it may be empty.
	Instance string
	// Attributes are further attributes of the resource.
	Attributes []attribute.KeyValue
	// Exporter connects to the collector of a configuration.
	Exporter func(model.Tracing) Exporter
	// Queue is how many spans may wait to be sent; 0 means 2048, as OpenTelemetry's SDKs have.
	Queue int
	// Logger gets a warning when spans were dropped, once a minute at most. It may be nil.
	Logger hclog.Logger
}

// Exporter sends spans to a collector. One goroutine calls it.
type Exporter interface {
	// Export sends spans. It must not keep them. An error that is a Permanent says that they must not be sent again.
	Export(ctx context.Context, spans []sdktrace.ReadOnlySpan) error
	// Close ends its connections.
	Close()
}

// Tracer makes the spans of one role. It is safe for concurrent use, and a nil one makes none.
type Tracer struct {
	opts    Options
	dropped atomic.Uint64
	current atomic.Pointer[provider] // nil while spans are off
	closing sync.WaitGroup           // of providers that were replaced
	mu      sync.Mutex               // held to replace the provider
}

// provider is a Tracer's configuration of a moment.
type provider struct {
	config model.Tracing
	tracer trace.Tracer
	queue  *queue
}

// New makes a Tracer that is off.
func New(opts Options) *Tracer {
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	opts.Queue = cmp.Or(opts.Queue, defaultQueue)
	return &Tracer{opts: opts}
}

// flushWait bounds how long the last spans of a configuration may take to be sent.
const flushWait = 3 * time.Second

// Configure changes which requests get spans, and where they go. Spans that have begun are still sent to the collector before.
func (t *Tracer) Configure(config model.Tracing) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.current.Load()
	if old == nil && !config.On() || old != nil && old.config == config {
		return
	}
	var next *provider
	if config.On() {
		next = t.start(config)
	}
	t.current.Store(next)
	if next == nil {
		t.opts.Logger.Info("spans are off")
	} else {
		t.opts.Logger.Info("spans are on", "collector", config.Endpoint, "protocol", string(config.Protocol), "rate", config.SamplingRate)
	}
	if old != nil {
		t.closing.Go(func() { old.close(flushWait) })
	}
}

func (t *Tracer) start(config model.Tracing) *provider {
	q := newQueue(t.opts.Queue, t.opts.Exporter(config), &t.dropped, t.opts.Logger)
	attributes := append([]attribute.KeyValue{attribute.String("service.name", t.opts.Service)}, t.opts.Attributes...)
	if t.opts.Instance != "" {
		attributes = append(attributes, attribute.String("service.instance.id", t.opts.Instance))
	}
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(config.SamplingRate))),
		sdktrace.WithSpanProcessor(q),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
	)
	return &provider{config: config, tracer: sdk.Tracer(scope), queue: q}
}

// scope is the instrumentation scope of all spans.
const scope = "sluice.dev/sluice"

// Close sends the spans that are left and ends the Tracer. The context bounds it. Spans that end later are dropped.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.current.Swap(nil); old != nil {
		wait := flushWait
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
		old.close(wait)
	}
	t.closing.Wait()
}

func (p *provider) close(wait time.Duration) { p.queue.close(wait) }

// Dropped is how many spans were recorded and not sent, since the Tracer was made.
func (t *Tracer) Dropped() uint64 {
	if t == nil {
		return 0
	}
	return t.dropped.Load()
}
