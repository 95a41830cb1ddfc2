//go:build !unix

package peer

import "syscall"

// Closed is always false: there is no way to find out without waiting.
func Closed(syscall.RawConn) bool { return false }
