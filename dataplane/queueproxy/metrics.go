package queueproxy

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sluice/contract"
)

// MetricsContentType is the media type of what Metrics serves: Prometheus' text format.
const MetricsContentType = "text/plain; version=0.0.4; charset=utf-8"

// classes are the classes of status codes, 1xx to 5xx.
const classes = 5

// bounds are the upper bounds of the histogram's buckets.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// durations is a histogram. Its last bucket has what exceeds the last bound.
type durations struct {
	buckets [len(bounds) + 1]uint64
	sum     time.Duration
}

func (d *durations) note(took time.Duration) {
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	d.buckets[i]++
	d.sum += took
}

// classOf returns the index of a status' class. Without a status it is that of 200, which net/http sends then.
func classOf(status int) int {
	if status < 100 || status >= 600 {
		return 1
	}
	return status/100 - 1
}

// Metrics serves the metrics of this replica as Prometheus text, a few KiB. Their names do not change:
//
//	sluice_queue_uptime_seconds                      gauge    how long it has counted; the time base of the counters
//	sluice_queue_requests_total                      counter  requests that arrived
//	sluice_queue_concurrency_seconds_total           counter  requests in flight, integrated over time
//	sluice_queue_stream_seconds_total                counter  the part of it that streams have
//	sluice_queue_in_flight                           gauge    requests in flight
//	sluice_queue_streams                             gauge    the part of them that is streams
//	sluice_queue_waiting                             gauge    the part of them that waits in the queue
//	sluice_queue_spans_dropped_total                 counter  spans of traces that were not sent to the collector
//	sluice_queue_request_duration_seconds            histogram by response_code_class ("2xx"), for classes that occurred
//
// The part of requests, concurrency, streams and in flight that came through an activator has proxied_ after sluice_queue_.
//
// They are integrals and not averages, so that one counter serves any interval: the reader divides the difference of two values by the
// difference of the uptimes. An uptime that is less than before means a new replica.
func (p *Proxy) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", MetricsContentType)
		_, _ = w.Write(p.appendMetrics(make([]byte, 0, 4<<10))) // the reader may be gone
	})
}

func (p *Proxy) appendMetrics(to []byte) []byte {
	_, waiting := p.breaker.Counts()
	p.meter.mu.Lock()
	p.meter.advance()
	l, histograms := p.meter.load(), p.meter.durations
	p.meter.mu.Unlock()

	for _, m := range [...]struct {
		name, kind string
		value      float64
	}{
		{contract.QueueUptime, "gauge", l.Uptime.Seconds()},
		{contract.QueueRequests, "counter", float64(l.Requests)},
		{contract.QueueProxiedRequests, "counter", float64(l.ProxiedRequests)},
		{contract.QueueConcurrency, "counter", l.Concurrency},
		{contract.QueueProxiedConcurrency, "counter", l.ProxiedConcurrency},
		{contract.QueueStreamSeconds, "counter", l.Streams},
		{contract.QueueProxiedStreamSeconds, "counter", l.ProxiedStreams},
		{contract.QueueInFlight, "gauge", float64(l.InFlight)},
		{contract.QueueProxiedInFlight, "gauge", float64(l.ProxiedInFlight)},
		{contract.QueueStreams, "gauge", float64(l.StreamsInFlight)},
		{contract.QueueProxiedStreams, "gauge", float64(l.ProxiedStreamsInFlight)},
		{"waiting", "gauge", float64(waiting)},
		{"spans_dropped_total", "counter", float64(p.opts.Tracer.Dropped())},
	} {
		to = append(to, "# TYPE "+contract.QueueMetrics+m.name+" "+m.kind+"\n"+contract.QueueMetrics+m.name+" "...)
		to = append(strconv.AppendFloat(to, m.value, 'f', -1, 64), '\n')
	}
	const name = contract.QueueMetrics + "request_duration_seconds"
	to = append(to, "# TYPE "+name+" histogram\n"...)
	for class := range histograms {
		to = histograms[class].append(to, name, `response_code_class="`+strconv.Itoa(class+1)+`xx"`)
	}
	return to
}

// append appends the histogram unless it is empty.
func (d *durations) append(to []byte, name, label string) []byte {
	if !slices.ContainsFunc(d.buckets[:], func(n uint64) bool { return n > 0 }) {
		return to
	}
	var total uint64
	for i, n := range d.buckets {
		total += n
		to = append(to, name+"_bucket{"+label+`,le="`...)
		if i < len(bounds) {
			to = strconv.AppendFloat(to, bounds[i].Seconds(), 'f', -1, 64)
		} else {
			to = append(to, "+Inf"...)
		}
		to = append(strconv.AppendUint(append(to, `"} `...), total, 10), '\n')
	}
	to = append(to, name+"_sum{"+label+"} "...)
	to = append(strconv.AppendFloat(to, d.sum.Seconds(), 'f', -1, 64), '\n')
	to = append(to, name+"_count{"+label+"} "...)
	return append(strconv.AppendUint(to, total, 10), '\n')
}
