package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// The reasons for which the clock ends a stream.
var (
	errResponseTimeout = errors.New("upstream request timeout")
	errIdleTimeout     = errors.New("stream timeout")
	errMaxDuration     = errors.New("max duration timeout")
)

// streamClock ends a stream that exceeds a time limit. One timer serves all limits. The zero value has none.
type streamClock struct {
	// Set once, by limit. 0 is no limit.
	start  time.Time
	cancel context.CancelCauseFunc
	idle   time.Duration // without traffic
	whole  time.Duration // of the whole stream

	last atomic.Int64 // the last traffic, in nanoseconds since start

	// Guarded by mu.
	mu       sync.Mutex
	response time.Duration // of the response, from the end of the request
	// attempt limits the attempt, from its beginning or the end of the request, whichever is later. RoundTrip's goroutine writes it.
	attempt    time.Duration
	timer      *time.Timer
	complete   bool          // the request has been read
	responseBy time.Duration // the deadline, since start; 0 is none, or not yet
	attemptBy  time.Duration // the deadline, since start; 0 is none, or not yet
	stopped    bool
}

// limit sets the limits: those of the route, or of the connection manager where the route leaves them to it.
func (c *streamClock) limit(f *settings.Forward, m *settings.Manager) {
	c.response, c.idle, c.whole = f.Timeout, f.Idle, f.MaxDuration
	c.attempt = f.Retry.PerTry
	if c.idle < 0 {
		c.idle = m.StreamIdle
	}
	if c.whole < 0 {
		c.whole = m.MaxDuration
	}
}

// touch resets the idle limit.
func (c *streamClock) touch() {
	if c.idle > 0 {
		c.last.Store(int64(time.Since(c.start)))
	}
}

// run starts the clock; complete is whether the request has no body.
func (c *streamClock) run(complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = complete
	if complete && c.response > 0 {
		c.responseBy = time.Since(c.start) + c.response
	}
	c.schedule()
}

// attempted starts the limit of an attempt.
func (c *streamClock) attempted() {
	if c.attempt <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.complete {
		c.attemptBy = time.Since(c.start) + c.attempt
		c.schedule()
	}
}

// answered ends the limit of the attempt: the response has begun.
func (c *streamClock) answered() {
	if c.attempt <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempt, c.attemptBy = 0, 0
}

// requestDone starts the limits of the response and of the attempt: the request has been read.
func (c *streamClock) requestDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
	now := time.Since(c.start)
	if c.response > 0 {
		c.responseBy = now + c.response
	}
	if c.attempt > 0 {
		c.attemptBy = now + c.attempt
	}
	c.schedule()
}

// upgraded ends the limit of the response, as in Envoy: the stream has become a connection.
func (c *streamClock) upgraded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.response, c.responseBy = 0, 0
}

func (c *streamClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// next is the earliest deadline, since start, and the reason that it stands for; 0 when there is none. The caller holds mu.
func (c *streamClock) next() (by time.Duration, why error) {
	earliest := func(t time.Duration, reason error) {
		if by == 0 || t < by {
			by, why = t, reason
		}
	}
	if c.responseBy > 0 {
		earliest(c.responseBy, errResponseTimeout)
	}
	if c.attemptBy > 0 {
		earliest(c.attemptBy, errResponseTimeout)
	}
	if c.idle > 0 {
		earliest(time.Duration(c.last.Load())+c.idle, errIdleTimeout)
	}
	if c.whole > 0 {
		earliest(c.whole, errMaxDuration)
	}
	return by, why
}

// schedule sets the timer. The caller holds mu.
func (c *streamClock) schedule() {
	by, _ := c.next()
	if by == 0 || c.stopped {
		return
	}
	in := by - time.Since(c.start)
	if c.timer == nil {
		c.timer = time.AfterFunc(in, c.expire)
		return
	}
	c.timer.Reset(in)
}

func (c *streamClock) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, why := c.next(); by > 0 && time.Since(c.start) >= by {
		c.cancel(why)
		return
	}
	c.schedule()
}
