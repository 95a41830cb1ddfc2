//go:build !linux

package envoy

import "syscall"

// processAttributes are none: only Linux ends a child together with its parent.
func processAttributes() *syscall.SysProcAttr { return nil }
