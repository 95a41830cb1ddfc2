package scrape

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// recent is the longest time, in seconds, between two readings whose average counts as the present load.
	recent = 5.0
	// young is the longest uptime, in seconds, over which the average since the start counts as the present load.
	young = 5.0
)

// replica is what is known of one replica. One run asks a queue-proxy at a time, unless two revisions name the same URL.
type replica struct {
	// Set once.
	request *http.Request // nil when the URL is invalid
	bad     error         // why it is invalid

	round uint64 // the last one in which it was named; guarded by the Scraper's mu

	// Guarded by mu.
	mu    sync.Mutex
	last  reading
	known bool      // there is a last reading
	at    time.Time // of it, by our clock
}

// load is one replica's part in a Result.
type load struct {
	concurrency, proxiedConcurrency, streams, proxiedStreams, requests, proxiedRequests float64
}

func (l load) plus(m load) load {
	return load{
		l.concurrency + m.concurrency, l.proxiedConcurrency + m.proxiedConcurrency,
		l.streams + m.streams, l.proxiedStreams + m.proxiedStreams,
		l.requests + m.requests, l.proxiedRequests + m.proxiedRequests,
	}
}

func (l load) times(f float64) load {
	return load{
		l.concurrency * f, l.proxiedConcurrency * f, l.streams * f, l.proxiedStreams * f, l.requests * f, l.proxiedRequests * f,
	}
}

// take returns the load by a reading, and keeps the reading for the next one.
func (r *replica) take(now reading, at time.Time) (load, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l load
	if before := r.last; r.known && now.follows(before) {
		l = since(before, now)
	} else {
		l = first(now)
	}
	r.last, r.known, r.at = now, true, at
	for _, figure := range [...]float64{l.concurrency, l.requests} {
		if figure > maxLoad {
			return load{}, fmt.Errorf("its load comes to %v, want at most %v", figure, maxLoad)
		}
	}
	return l, nil
}

// fresh says that the next reading will have one before it that is recent.
func (r *replica) fresh(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known && now.Sub(r.at).Seconds() < recent
}

// follows says that both readings are of one life of the replica: nothing that grows went back.
func (r reading) follows(before reading) bool {
	for i := uptime; i <= proxiedStreams; i++ {
		if r[i] < before[i] {
			return false
		}
	}
	return r[uptime] > before[uptime]
}

// since is the load between two readings: the averages over the time between them, by the replica's own clock, so that the latency
// of answers does not matter. When that time is too long, the requests in flight are the better figure.
func since(before, now reading) load {
	seconds := now[uptime] - before[uptime]
	mean := func(i int) float64 { return (now[i] - before[i]) / seconds }
	l := load{requests: mean(requests), proxiedRequests: min(mean(proxiedRequests), mean(requests))}
	if seconds > recent {
		return l.inFlight(now)
	}
	l.concurrency, l.streams = mean(concurrency), mean(streams)
	l.proxiedConcurrency, l.proxiedStreams = min(mean(proxiedConcurrency), l.concurrency), min(mean(proxiedStreams), l.streams)
	return l
}

// first is the load of a replica by its first reading. The requests in flight are the best guess at its load. A burst that a young
// replica has served already counts too: the load that led to its start may come again.
//
// Requests per second are the mean over its uptime, which counts as a second at least: one request to a replica that is 10 ms old
// is not 100 a second.
func first(now reading) load {
	seconds := max(now[uptime], 1)
	l := load{requests: now[requests] / seconds, proxiedRequests: now[proxiedRequests] / seconds}
	if now[uptime] <= young && now[concurrency]/seconds > now[inFlight] {
		l.concurrency, l.proxiedConcurrency = now[concurrency]/seconds, now[proxiedConcurrency]/seconds
		l.streams, l.proxiedStreams = now[streams]/seconds, now[proxiedStreams]/seconds
		return l
	}
	return l.inFlight(now)
}

func (l load) inFlight(now reading) load {
	l.concurrency, l.proxiedConcurrency = now[inFlight], now[proxiedInFlight]
	l.streams, l.proxiedStreams = now[streamsNow], now[proxiedStreamsNow]
	return l
}
