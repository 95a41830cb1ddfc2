//go:build !unix

package proxy

import "net"

// peer is for systems that cannot say whether the other side has closed a connection.
type peer struct{}

func newPeer(net.Conn) *peer { return nil }

func (p *peer) gone() bool { return false }
