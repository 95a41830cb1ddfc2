package process

import (
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// markerVariable is set in every process, and so in all that it starts unless they clear their environment.
const markerVariable = "SLUICE_RUNTIME"

// marker is a value that no other process was given. A process has it in its environment, which it may overwrite, and as a limit that
// the kernel hands down and nothing else uses (see brand): it proves that whatever a container left behind is ours.
type marker uint64

// newMarker draws a marker that fits a limit's range and is not "infinity".
func newMarker() marker { return marker(rand.Uint64()>>2 | 1) } //nolint:gosec // nobody gains by guessing it

func (m marker) String() string { return strconv.FormatUint(uint64(m), 36) }

// reapPeriod is how often what has ended by itself, having lost its parents before, is reaped.
const reapPeriod = 10 * time.Second

// familyPatience is how long killed processes may take to end.
const familyPatience = 5 * time.Second

// families are the processes that containers and probes start: whatever they start in turn becomes a child of ours when its
// parents have ended, also when it has left their group and session.
type families struct {
	mu      sync.Mutex
	leaders map[marker]int // pids of those that we have started and will wait for
}

func newFamilies() *families {
	adopt()
	return &families{leaders: map[marker]int{}}
}

// begin marks a process that has just been started.
func (f *families) begin(pid int, m marker) {
	brand(pid, m)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaders[m] = pid
}

// end ends all that is left of a family, whose leader has been waited for.
func (f *families) end(m marker) {
	f.mu.Lock()
	delete(f.leaders, m)
	f.mu.Unlock()
	for deadline := time.Now().Add(familyPatience); ; time.Sleep(time.Millisecond) {
		left := false
		for _, pid := range children() {
			if !belongs(pid, m) {
				continue
			}
			left = true
			// A child's number is given to no other before it is reaped, which only we do.
			_ = syscall.Kill(pid, syscall.SIGKILL)
			reap(pid) // its own children are ours then
		}
		if !left || time.Now().After(deadline) {
			return
		}
	}
}

// reapEnded reaps those of living families that have ended and whose parents had ended before.
func (f *families) reapEnded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pid := range children() {
		if running(pid) {
			continue
		}
		m := brandOf(pid)
		if leader, ours := f.leaders[m]; ours && leader != pid {
			reap(pid)
		}
	}
}

// belongs says whether a process has a marker.
func belongs(pid int, m marker) bool {
	b := brandOf(pid)
	return b == m || b == unbranded && hasEnvironment(pid, markerVariable+"="+m.String())
}

// unbranded is the brand of who was started and not branded yet, or is none of ours: the limit is infinity.
const unbranded = marker(math.MaxUint64)
