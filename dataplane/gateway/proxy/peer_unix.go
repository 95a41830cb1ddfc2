//go:build unix

package proxy

import (
	"errors"
	"net"
	"syscall"
)

// peer finds out whether the other side has closed a connection.
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
		// It does not block: sockets of package net never do.
		n, _, err := syscall.Recvfrom(int(fd), buffer[:], syscall.MSG_PEEK)
		p.closed = n == 0 && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}
	return p
}

// gone is whether the other side has closed the connection and all that it sent has been read. The reader of the connection learns the
// same, but only once it is scheduled. raw.Read would wait for that reader; raw.Control does not.
func (p *peer) gone() bool {
	if p == nil || p.raw.Control(p.look) != nil {
		return false
	}
	return p.closed
}
