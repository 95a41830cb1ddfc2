// Package socket listens on addresses that a process which was just killed may still hold.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// timeout is how long an address may stay in use. When a process is killed while it starts another, that one has its sockets until
// it executes its program.
const timeout = time.Second

// Listen listens on a TCP address (host:port). If the address is in use, Listen tries again for up to a second. The error is
// syscall.EADDRINUSE if the address is in use even then.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	for deadline := time.Now().Add(timeout); ; {
		l, err := config.Listen(ctx, "tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(timeout / 50):
		}
	}
}

// ListenFor listens on the address that a flag has. The error says in the user's words what is wrong with it.
func ListenFor(flag, address string) (net.Listener, error) {
	l, err := Listen(context.Background(), address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s is in use: stop what listens there, or choose another address with %s", flag, address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s %s: %w", flag, address, err)
	}
	return l, nil
}
