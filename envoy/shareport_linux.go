package envoy

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// sharePort lets Envoy, which does the same, listen on a port at which we still do.
func sharePort(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("sharing a port with Envoy: %w", err)
	}
	return nil
}
