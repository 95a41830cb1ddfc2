package client

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The pauses between attempts grow from minPause by pauseFactor to maxPause. The client finds a control plane that restarts within a
// fraction of a second, and one that is gone costs an attempt every few seconds.
const (
	minPause    = 50 * time.Millisecond
	maxPause    = 5 * time.Second
	pauseFactor = 1.6
)

// newBackOff yields pauses between half of the nominal one and all of it, so that the clients of a restarted control plane do not come
// back all at once.
func newBackOff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: minPause * 3 / 4, MaxInterval: maxPause * 3 / 4, Multiplier: pauseFactor, RandomizationFactor: 1. / 3,
	}
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
