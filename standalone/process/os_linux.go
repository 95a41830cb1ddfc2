package process

import (
	"errors"
	"fmt"
	"os"
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

// groupMembers returns the pids of a process group.
func groupMembers(group int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var members []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err == nil && statField(pid, 5) == strconv.Itoa(group) {
			members = append(members, pid)
		}
	}
	return members
}

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
