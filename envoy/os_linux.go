package envoy

import "syscall"

// processAttributes give Envoy a process group of its own, so that a Ctrl-C in the terminal does not end it before it has
// drained, and let the kernel end it when the thread that started it ends, which is when we do (see run).
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
