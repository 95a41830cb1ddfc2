// Package address gives tests addresses to have processes listen on. It knows nothing of what listens there.
package address

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are below those that systems give to connections, and that replicas get: nobody gets one by chance between the moment
// when it is found free and the one when it is listened on, or while its owner is restarted.
const first, last = 10_000, 30_000

// Test binaries run side by side, so a process hands out ports of blocks that are its own: it listens on the first port of a block
// until it ends, which no other can do meanwhile.
const block = 50

var ports struct {
	sync.Mutex
	owned     []net.Listener
	next, end int // what is left of the newest block
}

// Free is a loopback address that nobody listens on and nobody was given before, in this process or another that runs now.
func Free(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for tries := 0; tries < 1000; {
		if ports.next == ports.end {
			tries++
			own()
			continue
		}
		address := at(ports.next)
		ports.next++
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatalf("no block of %d ports from %d to %d is free", block, first, last)
	return ""
}

// own tries to get another block.
func own() {
	start := first + block*rand.IntN((last-first)/block)
	if l, err := net.Listen("tcp", at(start)); err == nil {
		ports.owned = append(ports.owned, l)
		ports.next, ports.end = start+1, start+block
	}
}

func at(port int) string { return fmt.Sprint("127.0.0.1:", port) }
