package activator

import (
	"net/http"
	"sync"
	"time"
)

// cutGrace is how much later than the queue-proxy the activator ends a response that takes too long.
const cutGrace = time.Second

// overtime watches over the revision's timeout. It bounds the time to the response, and then what the queue-proxy cannot end:
// the writing to a client that takes nothing, which would hold a slot that the replica itself has free again.
type overtime struct {
	timer *time.Timer // nil without a timeout

	mu    sync.Mutex
	begun bool // the response has
	ended bool // the request has; its writer must not be touched any more
}

func (x *exchange) startTimeout() {
	if x.Timeout() > 0 {
		x.limit.timer = time.AfterFunc(time.Until(x.Arrived.Add(x.Timeout())), x.expire)
	}
}

// extendTimeout lets the response take as long as the queue-proxy, which has got the request before now, lets it take.
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
		// Writing to the client does not heed the context. Where it cannot be given a deadline the client is waited for.
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
