package proxy

import (
	"sync/atomic"
	"time"
)

// zoneLoad is the load of the endpoints of one zone of one cluster. Requests add to its atomics; the goroutine that reports reads them.
type zoneLoad struct {
	issued, succeeded, failed atomic.Uint64
	requests, streams         integral // streams are requests too

	reported reported // only by the goroutine that reports
}

// Report is the load of all clusters since the last report. One goroutine at a time may call it.
func (p *Proxy) Report() (loads []Load) {
	for c := range p.Clusters.All {
		loads = c.Report(loads, p.Since)
	}
	return loads
}

// Load is the load of one cluster's endpoints in one zone since the last report.
type Load struct {
	Cluster, Zone string

	Issued, Succeeded, Failed uint64 // requests in that time
	InProgress                uint64 // requests now

	Concurrency float64 // request-seconds in that time, streams too
	Streams     float64 // stream-seconds in that time: the part of concurrency that is upgraded connections and gRPC calls
}

// reported is the counters of a load at the last report.
type reported struct {
	issued, succeeded, failed uint64
	requests, streams         int64
	busy                      bool // the report had something to say
}

// integral is two numbers in one word, which a reader sees in step without a lock: how many requests run, and the sum of the durations of
// all requests up to now.
//
// A request that begins at t adds span - t, and when it ends at t' it subtracts span - t'. A request that has ended leaves t' - t, and one
// that runs leaves span - t. So at a time T the word is running × (span - T) + duration. The durations between two readings are far less
// than half of span, which is how read can separate the two.
type integral struct{ word atomic.Int64 }

// Times are in ticks since the proxy was made. A span is nine years, and 500,000 requests may run at once.
const (
	tickShift = 15 // a tick is 2^15 ns, about 33 µs
	span      = int64(1) << 43
	tick      = float64(int64(1)<<tickShift) / float64(time.Second) // in seconds
)

// begin and end take the time since the proxy was made.
func (i *integral) begin(at time.Duration) { i.word.Add(span - int64(at)>>tickShift) }

func (i *integral) end(at time.Duration) { i.word.Add(int64(at)>>tickShift - span) }

// read is how many requests run and the sum of the durations in ticks; before is that sum at the last reading. It calls since after it has
// loaded the word, since no request may have begun later than that.
func (i *integral) read(before int64, since func() time.Duration) (running, duration int64) {
	word := i.word.Load()
	each := span - int64(since())>>tickShift
	running = (word - before + each/2) / each
	return running, word - running*each
}

// begin counts a request; at is the time since the proxy was made.
func (l *zoneLoad) begin(at time.Duration, stream bool) {
	l.issued.Add(1)
	l.requests.begin(at)
	if stream {
		l.streams.begin(at)
	}
}

// withdraw uncounts a request that began at a time: it is retried at another host, and counts only there.
func (l *zoneLoad) withdraw(began time.Duration, stream bool) {
	l.issued.Add(^uint64(0))
	l.requests.end(began)
	if stream {
		l.streams.end(began)
	}
}

func (l *zoneLoad) end(at time.Duration, stream, failed bool) {
	l.requests.end(at)
	if stream {
		l.streams.end(at)
	}
	if failed {
		l.failed.Add(1)
	} else {
		l.succeeded.Add(1)
	}
}

// report is the load since the last report. ok is false when there is none, now and at the last report.
func (l *zoneLoad) report(since func() time.Duration) (r Load, ok bool) {
	t := &l.reported
	running, requests := l.requests.read(t.requests, since)
	_, streams := l.streams.read(t.streams, since)
	r = Load{
		Issued:      grown(&t.issued, l.issued.Load()),
		Succeeded:   grown(&t.succeeded, l.succeeded.Load()),
		Failed:      grown(&t.failed, l.failed.Load()),
		InProgress:  uint64(max(0, running)),
		Concurrency: float64(grown(&t.requests, requests)) * tick,
		Streams:     float64(grown(&t.streams, streams)) * tick,
	}
	was := t.busy
	t.busy = r.Issued > 0 || r.InProgress > 0
	return r, t.busy || was || r.Succeeded > 0 || r.Failed > 0
}

// grown is by how much a counter has grown since from, which it sets to the new value. A counter can shrink: a request was withdrawn, or
// ended a moment before the last reading. Then it has not grown until it is larger than from again.
func grown[T int64 | uint64](from *T, to T) T {
	if to <= *from {
		return 0
	}
	by := to - *from
	*from = to
	return by
}
