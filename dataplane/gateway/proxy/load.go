package proxy

import (
	"sync/atomic"
	"time"
)

// zoneLoad is what the requests to the endpoints of one zone of one cluster amount to. Requests only add to its atomics; one
// goroutine, that of the reports, reads.
type zoneLoad struct {
	issued, succeeded, failed atomic.Uint64
	requests, streams         integral // streams are requests too

	reported reported // the reporter's: where the counters were at the last report
}

// report is the load of all clusters since the last report. One goroutine may call it.
func (p *Proxy) Report() (loads []Load) {
	for c := range p.Clusters.All {
		loads = c.Report(loads, p.Since)
	}
	return loads
}

// clusterLoad is the load of one cluster's endpoints in one zone since the last report.
type Load struct {
	Cluster, Zone string

	Issued, Succeeded, Failed uint64 // requests in that time
	InProgress                uint64 // requests now

	Concurrency float64 // request-seconds in that time, streams too
	Streams     float64 // stream-seconds in that time: the part of concurrency that is upgraded connections and gRPC calls
}

// reported is where the counters of a load were at the last report.
type reported struct {
	issued, succeeded, failed uint64
	requests, streams         int64
	busy                      bool // the report had something to say
}

// integral is how many requests run and how long all that there were have run together, up to any moment, in one word: what
// begins and what ends is seen whole or not at all, without a lock.
//
// A request adds span - t when it begins at t, and takes off span - t' when it ends at t'. What has ended leaves its duration,
// and what runs leaves span and less its beginning, so that at a time T the word is running × (span - T) + duration. As the
// durations between two readings are far less than half of span, both can be told from the word.
type integral struct{ word atomic.Int64 }

// Times are counted in ticks since the gateway was made. A span of ticks is nine years, and 500,000 requests may run at once.
const (
	tickShift = 15 // a tick is 2^15 ns, about 33 µs
	span      = int64(1) << 43
	tick      = float64(int64(1)<<tickShift) / float64(time.Second) // in seconds
)

// begin and end take the time since the gateway was made.
func (i *integral) begin(at time.Duration) { i.word.Add(span - int64(at)>>tickShift) }

func (i *integral) end(at time.Duration) { i.word.Add(int64(at)>>tickShift - span) }

// read is how many run and the duration of all in ticks; before is what it was at the last reading. now must have been read
// after what it is about, so it is asked for here.
func (i *integral) read(before int64, since func() time.Duration) (running, duration int64) {
	word := i.word.Load()
	each := span - int64(since())>>tickShift
	running = (word - before + each/2) / each
	return running, word - running*each
}

// begin counts a request; the time is that since the gateway was made.
func (l *zoneLoad) begin(at time.Duration, stream bool) {
	l.issued.Add(1)
	l.requests.begin(at)
	if stream {
		l.streams.begin(at)
	}
}

// withdraw takes back a request that began at a time: it is sent again to another host, and counts there alone.
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

// report is the load since the last report; there is none where nothing happens, and did not the last time.
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

// grown is by how much a counter has grown, and keeps its new value. One that has shrunk, because a request was withdrawn or
// had ended a moment before the last reading, has not grown until it has made up for that.
func grown[T int64 | uint64](from *T, to T) T {
	if to <= *from {
		return 0
	}
	by := to - *from
	*from = to
	return by
}
