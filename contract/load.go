package contract

// The load metrics that our own data plane adds to a load report (LRS). Each is a sum: total_metric_value.
const (
	LoadConcurrency = "sluice.concurrency" // request-seconds in the interval, those of streams among them
	LoadStreams     = "sluice.streams"     // those of streams alone
	LoadWaiting     = "sluice.waiting"     // requests that wait now
	LoadOldest      = "sluice.oldest"      // seconds that the first of them has waited
)

// QueueMetrics begins the name of every metric that a queue-proxy serves.
const QueueMetrics = "sluice_queue_"

// The metrics of a queue-proxy that the autoscaler reads, without QueueMetrics. Those that begin with "proxied_" are the parts of the
// others that came through an activator. dataplane/queueproxy documents them.
const (
	QueueUptime               = "uptime_seconds"
	QueueRequests             = "requests_total"
	QueueProxiedRequests      = "proxied_requests_total"
	QueueConcurrency          = "concurrency_seconds_total"
	QueueProxiedConcurrency   = "proxied_concurrency_seconds_total"
	QueueStreamSeconds        = "stream_seconds_total"
	QueueProxiedStreamSeconds = "proxied_stream_seconds_total"
	QueueInFlight             = "in_flight"
	QueueProxiedInFlight      = "proxied_in_flight"
	QueueStreams              = "streams"
	QueueProxiedStreams       = "proxied_streams"
)
