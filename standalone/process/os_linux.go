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

	"golang.org/x/sys/unix"
)

// processAttributes make a process the leader of its own group, and let the kernel end it when the thread that started
// it ends, which is when we do (see starter).
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns true when a child of ours has ended, and leaves it to be reaped; false when that cannot be told. It waits
// in the network poller where it can: a system call that waits would keep a thread for each process.
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

// ended tells whether a child of ours waits to be reaped; the error says that it cannot be told.
func ended(pid int) (bool, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err != nil || info.Signo != 0, err
}

// claim keeps others of us from a port until giveUp is called or this process has ended, however it ends; nil when one of them
// has it. The claim is an abstract socket, which leaves no file and is seen where the port is: in this network namespace.
func claim(port int) (giveUp func(), err error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	giveUp = func() { _ = unix.Close(socket) }
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: "@sluice/port/" + strconv.Itoa(port)}); errors.Is(err, unix.EADDRINUSE) {
		giveUp()
		return nil, nil
	}
	return giveUp, nil // where there are no such sockets the port is ours as far as we can tell
}

// running tells whether a process exists and has not ended; one that has may still wait to be reaped.
func running(pid int) bool {
	state := statField(pid, 3)
	return state != "" && state != "Z" && state != "X"
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

// adopt makes us the parent of whatever loses its own below us.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } // since Linux 3.4

// rlimitLocks is the number of a limit that Linux has not looked at since 2.4, but hands down to children; x/sys does not name it.
const rlimitLocks = 10

// brand gives a process a marker that it and its children keep whatever becomes of their environment.
func brand(pid int, m marker) {
	_ = unix.Prlimit(pid, rlimitLocks, &unix.Rlimit{Cur: uint64(m), Max: uint64(m)}, nil) // it may have ended
}

// brandOf returns the marker of a process, or of nobody.
func brandOf(pid int) marker {
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

// reap takes note of the end of a child, if it has ended.
func reap(pid int) { _, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) }

// statField returns a field of /proc/PID/stat, numbered from 1 as in proc(5); n must be above 2.
func statField(pid, n int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses, which may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < n-2 {
		return ""
	}
	return fields[n-3]
}
