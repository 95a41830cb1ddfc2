package process

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
)

var errClosed = errors.New("the runtime is closed")

// starter starts all processes from one operating system thread. The parent-death signal of a process is tied to the
// thread that started it, not to our process: were it any thread, the Go runtime might end that one, and the replica
// would die without a reason.
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

// run serves start until ctx ends. The thread outlives it: it goes back to the Go runtime.
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

// start is command.Start on the starter's thread.
func (s *starter) start(command *exec.Cmd) error {
	request := startRequest{command, make(chan error, 1)}
	select {
	case s.requests <- request:
		return <-request.result
	case <-s.closed:
		return errClosed
	}
}
