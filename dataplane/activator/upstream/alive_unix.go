//go:build unix

package upstream

import "syscall"

// alive tells whether an idle connection can take a request. One that the replica has closed, or on which it has said
// something unasked, cannot; trying to read without waiting finds out.
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
