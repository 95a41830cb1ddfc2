package dispatch

import "time"

// meter counts the requests of a revision and integrates their number over time. A request counts from its arrival to the end of its
// response, also while it waits. The Dispatcher's mutex guards it.
type meter struct {
	inFlight, streams, waiting int // now; streams and waiting are parts of inFlight

	last     time.Time // when the integrals were last brought up to date
	integral Load
}

// Load is the load of a revision over some time.
type Load struct {
	// Issued are the requests that arrived, Succeeded and Failed those that ended.
	Issued, Succeeded, Failed uint64
	// Concurrency is the requests in flight, in request-seconds; Streams is the part of it that streams have.
	Concurrency, Streams float64
}

func (m *meter) advance(now time.Time) {
	if seconds := now.Sub(m.last).Seconds(); seconds > 0 {
		m.integral.Concurrency += float64(m.inFlight) * seconds
		m.integral.Streams += float64(m.streams) * seconds
		m.last = now
	}
}

func (m *meter) enter(now time.Time, stream bool) {
	m.advance(now)
	m.integral.Issued++
	m.inFlight++
	if stream {
		m.streams++
	}
}

func (m *meter) leave(now time.Time, stream, ok bool) {
	m.advance(now)
	m.inFlight--
	if stream {
		m.streams--
	}
	if ok {
		m.integral.Succeeded++
	} else {
		m.integral.Failed++
	}
}

// take returns the load since the last take.
func (m *meter) take(now time.Time) Load {
	m.advance(now)
	taken := m.integral
	m.integral = Load{}
	return taken
}
