//go:build !unix

package peer

import "syscall"

// Closed cannot be told without waiting here.
func Closed(syscall.RawConn) bool { return false }
