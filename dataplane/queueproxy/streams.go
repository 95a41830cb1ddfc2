package queueproxy

import (
	"context"
	"sync"
)

// streamCutter cuts streams. Each ends with the context that the cutter had when the stream began.
type streamCutter struct {
	// Guarded by mu.
	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
}

func newStreamCutter() *streamCutter {
	c := &streamCutter{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *streamCutter) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

// cut ends the streams in flight, and with forGood the later ones too.
func (c *streamCutter) cut(forGood bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended := c.ctx.Err() != nil
	c.cancel()
	if !forGood && !ended {
		c.ctx, c.cancel = context.WithCancel(context.Background())
	}
}
