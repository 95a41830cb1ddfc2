package activator

import "time"

// meter counts the requests of a revision and integrates their numbers over time. A request counts from its arrival to the end
// of its response, so also while it waits. The dispatcher's mutex guards it.
type meter struct {
	inFlight, streams, waiting int // now; streams and waiting are parts of inFlight

	last     time.Time // when the integrals were last brought up to date
	integral load
}

// load is what a revision had to do in some time.
type load struct {
	issued, succeeded, failed uint64
	// In request-seconds: those in flight, and the streams among them.
	concurrency, streams float64
}

func (m *meter) advance(now time.Time) {
	if seconds := now.Sub(m.last).Seconds(); seconds > 0 {
		m.integral.concurrency += float64(m.inFlight) * seconds
		m.integral.streams += float64(m.streams) * seconds
		m.last = now
	}
}

func (m *meter) enter(now time.Time, stream bool) {
	m.advance(now)
	m.integral.issued++
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
		m.integral.succeeded++
	} else {
		m.integral.failed++
	}
}

// take returns the load since the last take.
func (m *meter) take(now time.Time) load {
	m.advance(now)
	taken := m.integral
	m.integral = load{}
	return taken
}
