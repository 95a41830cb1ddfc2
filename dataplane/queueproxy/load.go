package queueproxy

import (
	"sync"
	"time"
)

// Load is the load of one replica since its Proxy was made. All values grow but the gauges at the end: the rate over a time is the
// difference of two Loads divided by the difference of their uptimes.
//
// A request counts from its arrival to the end of its response, also while it waits in the queue; probes do not count. A request is a
// stream when its connection has been upgraded (WebSocket) or when it is gRPC. The proxied values are the part that came through an
// activator, and those of streams the part that streams have; the others contain them.
type Load struct {
	// Uptime is how long the Proxy exists.
	Uptime time.Duration
	// Requests are how many arrived.
	Requests, ProxiedRequests uint64
	// Concurrency is the number of requests in flight integrated over time, in request-seconds. Its difference divided by the time is the
	// average concurrency.
	Concurrency, ProxiedConcurrency float64
	// Streams is the part of the request-seconds that streams have.
	Streams, ProxiedStreams float64
	// InFlight are the requests in flight now, Waiting those of them that wait in the queue.
	InFlight, ProxiedInFlight, Waiting int
	// StreamsInFlight are the streams among them.
	StreamsInFlight, ProxiedStreamsInFlight int
}

// Load returns the counts up to this moment.
func (p *Proxy) Load() Load {
	l := p.meter.read()
	_, l.Waiting = p.breaker.Counts()
	return l
}

// entry is one request in the meter.
type entry struct {
	proxied, stream bool
	arrived         time.Time
}

// flow has the counts of all requests, or of those through an activator.
type flow struct {
	requests               uint64
	flight, streams        int
	seconds, streamSeconds float64
}

// meter integrates the number of requests in flight over time.
type meter struct {
	// Guarded by mu.
	mu           sync.Mutex
	all, proxied flow
	began        time.Time
	last         time.Time // when the integrals were last brought up to date
	arrived      time.Time // when the last request arrived
	durations    [classes]durations
}

// enter counts the arrival of a request and records its time.
func (m *meter) enter(v *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.arrived, v.arrived = m.last, m.last
	m.all.enter(v.stream)
	if v.proxied {
		m.proxied.enter(v.stream)
	}
}

// upgrade makes a request in flight a stream.
func (m *meter) upgrade(v *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.stream {
		return
	}
	m.advance()
	v.stream = true
	m.all.streams++
	if v.proxied {
		m.proxied.streams++
	}
}

// leave counts the end of a request and returns how long it took.
func (m *meter) leave(v *entry, status int) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.all.leave(v.stream)
	if v.proxied {
		m.proxied.leave(v.stream)
	}
	took := m.last.Sub(v.arrived)
	m.durations[classOf(status)].note(took)
	return took
}

func (m *meter) read() Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	return m.load()
}

// load returns the counts. The caller holds the mutex and has called advance.
func (m *meter) load() Load {
	return Load{
		Uptime:   m.last.Sub(m.began),
		Requests: m.all.requests, ProxiedRequests: m.proxied.requests,
		Concurrency: m.all.seconds, ProxiedConcurrency: m.proxied.seconds,
		Streams: m.all.streamSeconds, ProxiedStreams: m.proxied.streamSeconds,
		InFlight: m.all.flight, ProxiedInFlight: m.proxied.flight,
		StreamsInFlight: m.all.streams, ProxiedStreamsInFlight: m.proxied.streams,
	}
}

// quietSince returns when the last request arrived; quiet is false while one is in flight.
func (m *meter) quietSince() (since time.Time, quiet bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arrived, m.all.flight == 0
}

func (m *meter) advance() {
	now := time.Now()
	seconds := now.Sub(m.last).Seconds()
	m.all.advance(seconds)
	if m.proxied.flight > 0 {
		m.proxied.advance(seconds)
	}
	m.last = now
}

func (f *flow) enter(stream bool) {
	f.requests++
	f.flight++
	if stream {
		f.streams++
	}
}

func (f *flow) leave(stream bool) {
	f.flight--
	if stream {
		f.streams--
	}
}

func (f *flow) advance(seconds float64) {
	f.seconds += float64(f.flight) * seconds
	f.streamSeconds += float64(f.streams) * seconds
}
