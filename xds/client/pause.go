package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// The pauses between attempts grow from minPause by pauseFactor to maxPause: the client finds a control plane that restarts within a
// fraction of a second, and tries one that is gone every few seconds.
const (
	minPause    = 50 * time.Millisecond
	maxPause    = 5 * time.Second
	pauseFactor = 1.6
)

// pauser yields exponentially growing pauses with jitter.
type pauser struct{ last time.Duration }

func (p *pauser) reset() { p.last = 0 }

// next is the following pause: between half of the nominal one and all of it.
func (p *pauser) next() time.Duration {
	p.last = min(max(time.Duration(float64(p.last)*pauseFactor), minPause), maxPause)
	return p.last/2 + rand.N(p.last/2)
}

// sleep waits, and reports false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
