//go:build unix

package upstream

import "syscall"

// alive reports whether an idle connection can carry a request: the replica has neither closed it nor sent anything. It tries to read
// without waiting.
func (c *Conn) alive() bool {
	if c.raw == nil || c.In.Buffered() > 0 {
		return c.raw == nil
	}
	alive := false
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, err := syscall.Read(int(fd), one[:])
		alive = n < 0 && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK)
		return true
	})
	return err == nil && alive
}
