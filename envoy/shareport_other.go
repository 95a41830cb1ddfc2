//go:build !linux

package envoy

import (
	"errors"
	"syscall"
)

// sharePort is not known here.
func sharePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("ports are shared with Envoy on Linux alone")
}
