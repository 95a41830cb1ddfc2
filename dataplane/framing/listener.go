package framing

import (
	"errors"
	"net"
	"syscall"
)

// Listener holds the clients whose connections it accepts to their framing.
type Listener struct{ net.Listener }

// Accept waits for the next client.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

// SyscallConn gives access to the socket, for those who look whether the client is still there.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
