package framing

import (
	"errors"
	"net"
	"syscall"
)

// Listener accepts connections as Conns.
type Listener struct{ net.Listener }

// Accept waits for the next client.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

// SyscallConn gives access to the socket, for checks whether the client is still connected.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
