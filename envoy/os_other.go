//go:build !linux

package envoy

import "syscall"

// processAttributes are none: only Linux can end a child with its parent.
func processAttributes() *syscall.SysProcAttr { return nil }
