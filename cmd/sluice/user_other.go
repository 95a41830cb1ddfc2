//go:build !linux

package main

import (
	"net/netip"
	"os"
)

// userOf takes everybody for this user where it cannot be found out.
func userOf(netip.AddrPort, netip.AddrPort) (user int, found bool, err error) {
	return os.Geteuid(), true, nil
}
