package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// processAttributes make a process the leader of its own group. They have the kernel kill it when the thread that started
// it ends, which is when this process ends (see starter).
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns true when a child of ours has ended and does not reap it. It returns false if it cannot wait. It waits
// in the network poller where it can: a blocking system call would occupy a thread for each process.
func awaitExit(pid int) bool {
	if handle, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
		file := os.NewFile(uintptr(handle), "process")
		defer file.Close()
		var outcome error
		if conn, err := file.SyscallConn(); err == nil && conn.Read(func(uintptr) (done bool) {
			done, outcome = ended(pid)
			return done
		}) == nil {
			return outcome == nil
		}
	}
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

// ended reports whether a child of ours has ended and is not reaped yet. With an error that cannot be determined.
func ended(pid int) (bool, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err != nil || info.Signo != 0, err
}

// claim reserves a port among all Sluice processes until release is called or this process ends in any way. release is nil if
// another process has claimed the port. The claim is an abstract socket: it leaves no file, and like the port it belongs to
// the network namespace.
func claim(port int) (release func(), err error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	release = func() { _ = unix.Close(socket) }
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: "@sluice/port/" + strconv.Itoa(port)}); errors.Is(err, unix.EADDRINUSE) {
		release()
		return nil, nil
	}
	return release, nil // also where there are no abstract sockets: then nothing can be claimed
}

// running reports whether a process exists and is not a zombie.
func running(pid int) bool {
	state := statField(pid, 3)
	return state != "" && state != "Z" && state != "X"
}

// consumed returns how much CPU a process has used, with the children that it has waited for, and its resident memory in bytes.
func consumed(pid int) (cpu time.Duration, memory int64, ok bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, false
	}
	stat, err := p.Stat()
	if err != nil {
		return 0, 0, false
	}
	const tick = time.Second / 100 // USER_HZ, which is the same on every machine

	ticks := int64(stat.UTime) + int64(stat.STime) + int64(max(0, stat.CUTime)) + int64(max(0, stat.CSTime)) //nolint:gosec // centuries
	return time.Duration(ticks) * tick, int64(stat.ResidentMemory()), true
}

// startTime returns field 22 of /proc/PID/stat, in clock ticks since the machine started; it is empty when there is no such process.
func startTime(pid int) string { return statField(pid, 22) }

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// becomeSubreaper makes us the parent of descendants whose own parent ends.
func becomeSubreaper() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } // since Linux 3.4

// rlimitLocks is RLIMIT_LOCKS, which x/sys does not name. Linux has not enforced it since 2.4, but children still inherit it.
const rlimitLocks = 10

// setMarker gives a process a marker that it and its descendants keep even if they change their environment.
func setMarker(pid int, m marker) {
	_ = unix.Prlimit(pid, rlimitLocks, &unix.Rlimit{Cur: uint64(m), Max: uint64(m)}, nil) // it may have ended
}

// markerOf returns the marker of a process; 0 if there is no such process.
func markerOf(pid int) marker {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, rlimitLocks, nil, &limit); err != nil {
		return 0
	}
	return marker(limit.Max)
}

// children returns the pids of our children.
func children() []int {
	lists, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is well-formed
	var pids []int
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if len(lists) > 0 {
		return pids
	}
	self := strconv.Itoa(os.Getpid())
	return slices.DeleteFunc(processes(), func(pid int) bool { return statField(pid, 4) != self })
}

// processes returns all pids.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// reap reaps a child if it has ended.
func reap(pid int) { _, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) }

// statField returns a field of /proc/PID/stat, numbered from 1 as in proc(5); n must be above 2.
func statField(pid, n int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses, which may contain any character.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < n-2 {
		return ""
	}
	return fields[n-3]
}
