package tracing

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The sizes of the queue and of a batch are those of OpenTelemetry's SDKs. The delay is shorter than their 5 s: who looks for a trace has
// often just made the request.
const (
	defaultQueue  = 2048
	batchSize     = 512
	batchDelay    = time.Second
	exportTimeout = 10 * time.Second
	// tries is how often a batch is sent, with pauses of 1, 2 and 4 s in between.
	tries      = 4
	firstPause = time.Second
	// logEvery is how often a line about dropped spans is logged at most.
	logEvery = time.Minute
)

// Permanent is an error after which spans must not be sent again: the collector does not take them.
type Permanent struct{ Err error }

func (p Permanent) Error() string { return p.Err.Error() }

// Unwrap returns what went wrong.
func (p Permanent) Unwrap() error { return p.Err }

// queue takes spans that have ended, and sends them in batches. It is not OpenTelemetry's BatchSpanProcessor because that one does not
// count what it drops.
type queue struct {
	exporter Exporter
	spans    chan sdktrace.ReadOnlySpan
	dropped  *atomic.Uint64
	logger   hclog.Logger

	closed  chan struct{}      // closed by close
	once    sync.Once          // for it
	ended   chan struct{}      // closed when all was sent or dropped
	sending context.Context    // of exports
	cut     context.CancelFunc // ends an export in progress

	// Only the sending goroutine touches what follows.
	logged   uint64    // how many dropped spans were logged
	loggedAt time.Time // when
	lastFail error     // of the last export that failed
}

func newQueue(size int, exporter Exporter, dropped *atomic.Uint64, logger hclog.Logger) *queue {
	q := &queue{
		exporter: exporter, spans: make(chan sdktrace.ReadOnlySpan, size), dropped: dropped, logger: logger,
		closed: make(chan struct{}), ended: make(chan struct{}), logged: dropped.Load(),
	}
	q.sending, q.cut = context.WithCancel(context.Background())
	go q.run()
	return q
}

// OnStart is for sdktrace.SpanProcessor.
func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd puts a span into the queue, or drops it. It never blocks.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case <-q.ended:
		q.dropped.Add(1)
		return
	default:
	}
	select {
	case q.spans <- s:
	default:
		q.dropped.Add(1)
	}
}

// Shutdown is for sdktrace.SpanProcessor; close ends the queue.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush is for sdktrace.SpanProcessor.
func (q *queue) ForceFlush(context.Context) error { return nil }

// close sends what is in the queue, for as long as it may take, and ends it.
func (q *queue) close(wait time.Duration) {
	q.once.Do(func() { close(q.closed) })
	timer := time.AfterFunc(wait, q.cut)
	defer timer.Stop()
	<-q.ended
}

func (q *queue) run() {
	defer close(q.ended)
	defer q.exporter.Close()
	defer q.cut()
	batch := make([]sdktrace.ReadOnlySpan, 0, batchSize)
	for {
		batch = q.collect(batch[:0])
		if len(batch) == 0 {
			return
		}
		q.send(batch)
		q.tell()
		clear(batch)
	}
}

// collect waits for spans, and returns them when they are enough or have waited long enough. It returns none when the queue is closed and
// empty.
func (q *queue) collect(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	select {
	case s := <-q.spans:
		batch = append(batch, s)
	case <-q.closed:
		return q.rest(batch)
	}
	timer := time.NewTimer(batchDelay)
	defer timer.Stop()
	for len(batch) < batchSize {
		select {
		case s := <-q.spans:
			batch = append(batch, s)
		case <-timer.C:
			return batch
		case <-q.closed:
			return q.rest(batch)
		}
	}
	return batch
}

// rest adds what is in the queue, up to a batch.
func (q *queue) rest(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	for len(batch) < batchSize {
		select {
		case s := <-q.spans:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// send sends a batch, several times if need be. It drops the batch when that fails, and does not repeat after close.
func (q *queue) send(batch []sdktrace.ReadOnlySpan) {
	pause := firstPause
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(q.sending, exportTimeout)
		err := q.exporter.Export(ctx, batch)
		cancel()
		if err == nil {
			return
		}
		q.lastFail = err
		var permanent Permanent
		if try == tries || errors.As(err, &permanent) || !q.wait(pause) {
			q.dropped.Add(uint64(len(batch)))
			return
		}
		pause *= 2
	}
}

// wait reports whether the pause is over: it is not when the queue is closed before.
func (q *queue) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.closed:
		return false
	}
}

// tell logs that spans were dropped.
func (q *queue) tell() {
	dropped := q.dropped.Load()
	if dropped == q.logged || time.Since(q.loggedAt) < logEvery {
		return
	}
	message, cause := "spans were dropped: more came than the collector takes", ""
	if q.lastFail != nil {
		message, cause = "spans were dropped: the collector does not take them", q.lastFail.Error()
	}
	q.logger.Warn(message, "spans", dropped-q.logged, "error", cause)
	q.logged, q.loggedAt, q.lastFail = dropped, time.Now(), nil
}
