//go:build !unix

package upstream

// alive is always true, since there is no way to find out: Pool closes idle connections long before a queue-proxy does.
func (c *Conn) alive() bool { return true }
