package activator

import (
	"net/http"
	"sync"
	"time"
)

// cutGrace is how much later than the queue-proxy the activator ends a response that takes too long.
const cutGrace = time.Second

// timeLimit enforces the revision's timeout. It bounds the time to the response, and then what the queue-proxy cannot end: the writing to
// a client that does not read. Such a client would hold a slot here that is free at the replica.
type timeLimit struct {
	timer *time.Timer // nil without a timeout; set once

	// Guarded by mu.
	mu    sync.Mutex
	begun bool // the response has begun
	ended bool // the request has ended; its writer must not be used any more
}

func (x *exchange) startTimeout() {
	if x.Timeout() > 0 {
		x.limit.timer = time.AfterFunc(time.Until(x.Arrived.Add(x.Timeout())), x.expire)
	}
}

// extendTimeout gives the response as long as the queue-proxy does, which got the request before now.
func (x *exchange) extendTimeout() {
	if x.limit.timer == nil {
		return
	}
	x.limit.mu.Lock()
	x.limit.begun = true
	x.limit.mu.Unlock()
	x.limit.timer.Reset(x.Timeout() + cutGrace)
}

func (x *exchange) expire() {
	x.limit.mu.Lock()
	defer x.limit.mu.Unlock()
	if x.limit.ended {
		return
	}
	x.cancel(errTimeout)
	if x.limit.begun {
		// Writing to the client does not observe the context. A writer without deadlines goes on waiting.
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Unix(1, 0))
	}
}

func (x *exchange) endTimeout() {
	if x.limit.timer == nil {
		return
	}
	x.limit.timer.Stop()
	x.limit.mu.Lock()
	defer x.limit.mu.Unlock()
	x.limit.ended = true
}
