// Package stage runs the parts of a process that depend on each other. It must not know what the parts are.
package stage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Drain bounds how long requests in flight may take when the process ends.
const Drain = 30 * time.Second

// patience bounds the end of a part. Each part bounds its own end, so only a bug takes longer.
const patience = Drain + 15*time.Second

// Group is the parts of a process. Each part is started after the parts that it needs, and ended before them. When any part ends by
// itself, all must end. A Group belongs to one goroutine.
type Group struct {
	running []*part
	failed  chan error // holds the first failure
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// NewGroup makes a Group without parts.
func NewGroup() *Group { return &Group{failed: make(chan error, 1)} }

// Start runs a part until its context ends, which is not the caller's: Stop ends it.
func (g *Group) Start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	g.running = append(g.running, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		p.err = fmt.Errorf("%s: %w", name, err)
		select {
		case g.failed <- p.err:
		default:
		}
	}()
}

// Wait returns nil when the context ends or until is closed (nil never is), or the error of a part that ended before.
func (g *Group) Wait(ctx context.Context, until <-chan struct{}) error {
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return nil
	case err := <-g.failed:
		return err
	}
}

// Failed gets the error of the first part that ends by itself.
func (g *Group) Failed() <-chan error { return g.failed }

// Stop ends the parts one after the other, the newest first. It returns why, if that is an error: the errors of the ends would only
// hide it. Otherwise it returns what went wrong in ending the parts.
func (g *Group) Stop(why error) error {
	var all []error
	for i := len(g.running) - 1; i >= 0; i-- {
		p := g.running[i]
		p.cancel()
		select {
		case <-p.done:
			all = append(all, p.err)
		case <-time.After(patience):
			all = append(all, fmt.Errorf("%s did not end within %v, and was left running", p.name, patience))
		}
	}
	g.running = nil
	if why != nil {
		return why
	}
	return errors.Join(all...)
}
