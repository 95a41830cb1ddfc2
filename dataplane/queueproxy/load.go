package queueproxy

import (
	"sync"
	"time"
)

// Load is what one replica has had to do since its Proxy was made. All but InFlight and Waiting only grow: the rate
// over a time is the difference of two Loads divided by the time between them.
//
// A request counts from its arrival to the end of its response, so also while it waits in the queue; probes do not
// count. The proxied figures are the part that came through an activator; the others contain it.
type Load struct {
	// Requests are how many arrived.
	Requests, ProxiedRequests uint64
	// Concurrency is the number of requests in flight integrated over time, in request-seconds: its difference
	// divided by the time is the average concurrency.
	Concurrency, ProxiedConcurrency float64
	// InFlight are the requests that are there now, Waiting those of them that wait in the queue.
	InFlight, Waiting int
}

// Load returns the counts up to this moment.
func (p *Proxy) Load() Load {
	l := p.meter.read()
	_, l.Waiting = p.breaker.Counts()
	return l
}

// meter integrates the number of requests in flight over time.
type meter struct {
	mu            sync.Mutex
	load          Load
	proxiedFlight int
	last          time.Time // when Concurrency was last brought up to date
	arrived       time.Time // when the last request arrived
}

func (m *meter) enter(proxied bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.arrived = m.last
	m.load.Requests++
	m.load.InFlight++
	if proxied {
		m.load.ProxiedRequests++
		m.proxiedFlight++
	}
}

func (m *meter) leave(proxied bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.load.InFlight--
	if proxied {
		m.proxiedFlight--
	}
}

func (m *meter) read() Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	return m.load
}

// quietSince returns when the last request arrived; quiet is false while one is in flight.
func (m *meter) quietSince() (since time.Time, quiet bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.arrived, m.load.InFlight == 0
}

func (m *meter) advance() {
	now := time.Now()
	seconds := now.Sub(m.last).Seconds()
	m.load.Concurrency += float64(m.load.InFlight) * seconds
	m.load.ProxiedConcurrency += float64(m.proxiedFlight) * seconds
	m.last = now
}
