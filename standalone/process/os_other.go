//go:build !linux

package process

import (
	"syscall"
	"time"
)

// On other systems than Linux the kernel does not end replicas with us, and we cannot distinguish survivors from other
// processes. So replicas end only with a graceful stop.

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit returns false: it cannot wait without reaping.
func awaitExit(int) bool { return false }

// claim claims nothing: another Sluice may find the same port free until its replica listens.
func claim(int) (release func(), err error) { return func() {}, nil }

func running(int) bool { return false }

// consumed knows nothing: the class HPA keeps the replicas that run.
func consumed(int) (cpu time.Duration, memory int64, ok bool) { return 0, 0, false }

func startTime(int) string { return "" }

func bootID() string { return "" }

func becomeSubreaper() {}

func setMarker(int, marker) {}

func markerOf(int) marker { return 0 }

func children() []int { return nil }

func processes() []int { return nil }

func reap(int) {}
