package envoy

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// canShare says that a socket can be opened beside those of Envoy, and be left out.
const canShare = true

// sharePort lets us listen where Envoy does, which shares its ports among its threads.
func sharePort(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("sharing a port with Envoy: %w", err)
	}
	return nil
}

// Places in the memory of a BPF program: a random number (SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h).
const bpfRandom = 0xfffff000 + 56

// leaveOut has the kernel give the connections of a port to the sockets of Envoy, evenly and at random, and none to ours. The kernel
// numbers the sockets of a port as they came. When it finds none of the number that the program returns, it chooses one itself: ours when
// Envoy's are gone.
func leaveOut(l *beside, sockets int) error {
	after := uint32(0)
	if l.first {
		after = 1
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpfRandom},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(sockets)}, //nolint:gosec // a number of threads
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: after},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	conn, err := l.Listener.(*net.TCPListener).SyscallConn() //nolint:forcetypeassert // of tcp
	if err != nil {
		return fmt.Errorf("leaving out a socket: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) //nolint:gosec // four
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("leaving out a socket: %w", err)
	}
	return nil
}
