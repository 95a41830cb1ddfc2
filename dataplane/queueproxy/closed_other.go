//go:build !unix

package queueproxy

import "syscall"

// closed cannot be told without waiting here.
func closed(syscall.RawConn) bool { return false }
