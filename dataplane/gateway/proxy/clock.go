package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// The reasons for which a stream is ended by the clock.
var (
	errResponseTimeout = errors.New("upstream request timeout")
	errIdleTimeout     = errors.New("stream timeout")
	errMaxDuration     = errors.New("max duration timeout")
)

// streamClock holds the time limits of one stream behind a single timer: how long the response may take once the request
// is complete, how long an attempt may take to begin it, how long nothing may happen, and how long all of it may last. The zero
// value has no limits.
type streamClock struct {
	start    time.Time
	cancel   context.CancelCauseFunc
	response time.Duration // 0 is none; it counts from the end of the request
	attempt  time.Duration // 0 is none; it counts from the end of the request, or the beginning of the attempt when that is later
	idle     time.Duration // 0 is none
	whole    time.Duration // 0 is none

	last atomic.Int64 // when something happened, in nanoseconds since start

	mu         sync.Mutex
	timer      *time.Timer
	responseBy time.Duration // since start; 0 is not yet, or none
	complete   bool          // the request is
	attemptBy  time.Duration // since start; 0 is not yet, or none
	stopped    bool
}

// limit takes the limits of a route, or of the connection manager where the route has none of its own.
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

// touch notes that something was read or written.
func (c *streamClock) touch() {
	if c.idle > 0 {
		c.last.Store(int64(time.Since(c.start)))
	}
}

// run starts the clock; complete tells that the request has no body that is still to come.
func (c *streamClock) run(complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = complete
	if complete && c.response > 0 {
		c.responseBy = time.Since(c.start) + c.response
	}
	c.schedule()
}

// attempted notes that an attempt begins.
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

// answered notes that the response has begun.
func (c *streamClock) answered() {
	if c.attempt <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempt, c.attemptBy = 0, 0
}

// requestDone starts the limit of the response.
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

// upgraded lifts the limit of the response: the stream has become a connection of its own, as Envoy has it too.
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

// next is the earliest moment at which a limit may be passed, and the reason it would be; 0 when there is none.
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

// schedule sets the timer. The caller holds the lock.
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
