//go:build unix

package peer

import (
	"errors"
	"syscall"
)

// Closed reports whether the peer has closed the connection and all that it had sent has been read. It uses Control, since Read would wait
// for a reader.
func Closed(raw syscall.RawConn) (gone bool) {
	err := raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK) // sockets of package net do not block
		gone = n <= 0 && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return err == nil && gone
}
