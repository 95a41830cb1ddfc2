package envoy

import "syscall"

// processAttributes give Envoy a process group of its own, so that a Ctrl-C in the terminal does not end it before it has drained. The
// kernel ends Envoy when the thread that started it ends, which is when our process does (see run).
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
