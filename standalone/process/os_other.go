//go:build !linux

package process

import "syscall"

// Elsewhere than on Linux the kernel does not end replicas with us, and survivors cannot be told from other processes:
// replicas end with a graceful stop only.

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit cannot tell without reaping.
func awaitExit(int) bool { return false }

// claim claims nothing: another Sluice may find the same port free until its replica listens.
func claim(int) (giveUp func(), err error) { return func() {}, nil }

func running(int) bool { return false }

func startTime(int) string { return "" }

func bootID() string { return "" }

func adopt() {}

func brand(int, marker) {}

func brandOf(int) marker { return 0 }

func children() []int { return nil }

func processes() []int { return nil }

func reap(int) {}
