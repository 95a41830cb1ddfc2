package listener

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takeLast hands over the connections that wait to be accepted, and keeps others from waiting when the socket closes, which would reset
// them. It tells the kernel to let one connection wait, and then is that connection itself. Clients that connect meanwhile get no
// answer, try again after a second, and then are refused or find the process that has taken over.
func (s *Socket) takeLast() {
	const tries, timeout = 10, 10 * time.Millisecond
	raw, err := s.ln.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 0) }) // where it fails, connections may be reset
	var plugs []net.Conn
	defer func() {
		_ = s.ln.Close() // before the plugs, or clients would take their place
		for _, plug := range plugs {
			_ = plug.Close()
		}
	}()
	for range tries {
		some := s.takeWaiting()
		plug, err := net.DialTimeout("tcp", s.ln.Addr().String(), timeout)
		if err != nil {
			if !some && !s.takeWaiting() {
				return // the kernel takes no more connections
			}
			continue
		}
		if plugs = append(plugs, plug); waiting(raw) == 1 {
			return
		}
	}
}

// waiting is how many connections wait to be accepted; -1 if that is unknown.
func waiting(raw syscall.RawConn) int {
	n := -1
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked) // its meaning for a listening socket
		}
	})
	return n
}
