package process

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
)

var errClosed = errors.New("the runtime is closed")

// starter starts all processes from one operating system thread. The kernel sends the parent-death signal when the thread
// ends that started a process, not when our process ends. The Go runtime may end any other thread, and replicas would end
// with it.
type starter struct {
	requests chan startRequest
	closed   chan struct{}
}

type startRequest struct {
	command *exec.Cmd
	result  chan error
}

func newStarter() *starter {
	return &starter{requests: make(chan startRequest), closed: make(chan struct{})}
}

// run serves start until ctx ends. Then it returns the thread to the Go runtime, so the thread does not end.
func (s *starter) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.closed)
	for {
		select {
		case request := <-s.requests:
			request.result <- request.command.Start()
		case <-ctx.Done():
			return
		}
	}
}

// start calls command.Start on the starter's thread.
func (s *starter) start(command *exec.Cmd) error {
	request := startRequest{command, make(chan error, 1)}
	select {
	case s.requests <- request:
		return <-request.result
	case <-s.closed:
		return errClosed
	}
}
