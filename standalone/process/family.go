package process

import (
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// markerVariable is the environment variable with the marker of a process. Its children inherit it unless they clear their
// environment.
const markerVariable = "SLUICE_RUNTIME"

// marker is a random number by which we know the descendants of one container or probe. They have it in their environment,
// which a process may overwrite, and as a resource limit that children inherit and nothing else uses (see setMarker).
type marker uint64

// newMarker draws a marker that fits a limit's range and is not "infinity".
func newMarker() marker { return marker(rand.Uint64()>>2 | 1) } //nolint:gosec // guessing one is of no use

func (m marker) String() string { return strconv.FormatUint(uint64(m), 36) }

// reapPeriod is how often orphaned descendants that have ended are reaped.
const reapPeriod = 10 * time.Second

// killTimeout is how long killed processes may take to end.
const killTimeout = 5 * time.Second

// families are the processes that we start for containers and probes (the leaders), each with its descendants. A descendant
// becomes a child of ours when its parents have ended, even if it has left their process group and session.
type families struct {
	mu      sync.Mutex
	leaders map[marker]int // guarded by mu; the pids of leaders that we have still to wait for
}

func newFamilies() *families {
	becomeSubreaper()
	return &families{leaders: map[marker]int{}}
}

// begin marks a leader that has just been started.
func (f *families) begin(pid int, m marker) {
	setMarker(pid, m)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaders[m] = pid
}

// end kills the rest of a family after its leader has been reaped.
func (f *families) end(m marker) {
	f.mu.Lock()
	delete(f.leaders, m)
	f.mu.Unlock()
	for deadline := time.Now().Add(killTimeout); ; time.Sleep(time.Millisecond) {
		left := false
		for _, pid := range children() {
			if familyOf(pid) != m {
				continue
			}
			left = true
			// The kernel does not reuse a child's pid before it is reaped, and only we reap.
			_ = syscall.Kill(pid, syscall.SIGKILL)
			reap(pid) // its children become ours
		}
		if !left || time.Now().After(deadline) {
			return
		}
	}
}

// reapEnded reaps descendants that have ended after their parents while the leader still runs.
func (f *families) reapEnded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pid := range children() {
		if running(pid) {
			continue
		}
		m := markerOf(pid)
		if leader, ours := f.leaders[m]; ours && leader != pid {
			reap(pid)
		}
	}
}

// familyOf returns the marker of a process: its limit, or its environment where the limit is not set; 0 if it has none.
func familyOf(pid int) marker {
	if m := markerOf(pid); m != unmarked {
		return m
	}
	return environmentMarker(pid)
}

// unmarked is the limit of a process that has just been started or is not ours: infinity.
const unmarked = marker(math.MaxUint64)
