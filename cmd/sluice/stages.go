package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stagePatience bounds the end of a part. Each bounds its own, so this is for what nobody has thought of.
const stagePatience = drain + 15*time.Second

// stages are the parts of a process that depend on each other: each is started after those that it needs, and
// ended before them. The end of any of them by itself is the end of all.
type stages struct {
	running []*stage
	failed  chan error
}

type stage struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func newStages() *stages { return &stages{failed: make(chan error, 1)} }

// start runs a part until its context ends, which is not the caller's: stop decides when.
func (s *stages) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	st := &stage{name: name, cancel: cancel, done: make(chan struct{})}
	s.running = append(s.running, st)
	go func() {
		defer close(st.done)
		err := run(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		st.err = fmt.Errorf("%s: %w", name, err)
		select {
		case s.failed <- st.err:
		default:
		}
	}()
}

// wait returns nil when the context ends, or the error of a part that ended before.
func (s *stages) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// stop ends the parts one after the other, the newest first. It returns why they are ended, if that is an error, or else
// what went wrong in ending them: what follows from a failure would only hide it.
func (s *stages) stop(why error) error {
	var all []error
	for i := len(s.running) - 1; i >= 0; i-- {
		st := s.running[i]
		st.cancel()
		select {
		case <-st.done:
			all = append(all, st.err)
		case <-time.After(stagePatience):
			all = append(all, fmt.Errorf("%s did not end within %v of being told to; it is left behind", st.name, stagePatience))
		}
	}
	s.running = nil
	if why != nil {
		return why
	}
	return errors.Join(all...)
}
