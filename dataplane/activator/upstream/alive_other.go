//go:build !unix

package upstream

// alive trusts idle connections where there is no way to look at them: the age that they may reach is far less than what
// queue-proxies grant them.
func (c *Conn) alive() bool { return true }
