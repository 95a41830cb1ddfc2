package listener

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// takeLast hands over the connections that wait to be accepted, and sees to it that there are none when the listener closes: they
// would be reset. The kernel is told to let no more than one wait, and then that one is ours. Whoever else asks for a
// connection is not answered, asks again after a second, and is refused then or finds who has taken over.
func (s *Socket) takeLast() {
	const tries, patience = 10, 10 * time.Millisecond
	raw, err := s.ln.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 0) }) // where it fails connections are reset, as without it
	var plugs []net.Conn
	defer func() {
		_ = s.ln.Close() // before them, or others would take their place
		for _, plug := range plugs {
			_ = plug.Close()
		}
	}()
	for range tries {
		some := s.takeWaiting()
		plug, err := net.DialTimeout("tcp", s.ln.Addr().String(), patience)
		if err != nil {
			if !some && !s.takeWaiting() {
				return // nobody gets in any more
			}
			continue
		}
		if plugs = append(plugs, plug); waiting(raw) == 1 {
			return
		}
	}
}

// waiting is how many connections wait to be accepted; -1 if that is not known.
func waiting(raw syscall.RawConn) int {
	n := -1
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Unacked) // which it is for a socket that listens
		}
	})
	return n
}
