// Package socket listens on addresses that a killed process may have left a moment ago.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// patience is how long an address may stay in use. A process that is killed while it starts another leaves its sockets to that one
// until the other's program begins.
const patience = time.Second

// Listen listens on a TCP address (host:port). Where the address is in use it tries again for up to a second; the error is
// syscall.EADDRINUSE if it still is.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	for deadline := time.Now().Add(patience); ; {
		l, err := config.Listen(ctx, "tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(patience / 50):
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
