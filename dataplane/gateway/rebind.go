package gateway

import (
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/xds/client"
)

// Back-off between two attempts to have an address that somebody else has: it doubles from the first to the longest.
const (
	firstRebind   = 500 * time.Millisecond
	longestRebind = 30 * time.Second
)

// askAgain has the control plane send all listeners once more: it sends what was refused only when it changes, but an address
// that was taken may be free by now. So it learns of that by an acknowledgement, as of anything.
func (g *Gateway) askAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rebind.planned = nil
	if g.ending.Load() {
		return
	}
	g.client.Unsubscribe(resource.ListenerType, client.Wildcard)
	g.client.Subscribe(resource.ListenerType, client.Wildcard)
}

// rebind has listeners asked for again as long as the address of one is taken. The gateway's mutex guards it.
type rebind struct {
	pause   time.Duration // before the attempt after this one; 0 when no address was taken
	planned *time.Timer   // the next attempt; nil when there is none
	failed  bool          // an address was taken in the update that is being applied
}

func (r *rebind) begin() { r.failed = false }

// plan has an attempt follow, unless one does already.
func (r *rebind) plan(attempt func()) {
	if r.failed = true; r.planned != nil {
		return
	}
	r.pause = min(max(2*r.pause, firstRebind), longestRebind)
	r.planned = time.AfterFunc(r.pause, attempt)
}

// end starts the back-off over when nothing was taken.
func (r *rebind) end() {
	if !r.failed {
		r.pause = 0
	}
}
