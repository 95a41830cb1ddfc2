//go:build unix

package proxy

import (
	"errors"
	"net"
	"syscall"
)

// peer looks whether the other side of a connection has closed it.
type peer struct {
	raw    syscall.RawConn
	look   func(fd uintptr)
	closed bool
}

func newPeer(conn net.Conn) *peer {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	p := &peer{raw: raw}
	var buffer [1]byte
	p.look = func(fd uintptr) {
		// Sockets of package net do not block.
		n, _, err := syscall.Recvfrom(int(fd), buffer[:], syscall.MSG_PEEK)
		p.closed = n == 0 && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}
	return p
}

// gone is whether the other side has closed the connection and all that it has sent has been read. Reading does not find that
// out before the scheduler lets it. Control is used since Read would wait for the reader that is waiting already.
func (p *peer) gone() bool {
	if p == nil || p.raw.Control(p.look) != nil {
		return false
	}
	return p.closed
}
