// Package address gives tests free addresses for processes to listen on. It does not know what listens there.
package address

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
)

// The ports lie below those that the kernel gives to connections, and below the 10,000 before those, which runtimes of processes give to
// replicas (package standalone/process). So no other process gets one by chance before a process listens on it, or while that process
// restarts.
var first, last = portRange()

func portRange() (first, last int) {
	const replicas, ours, privileged = 10_000, 12_000, 1024
	connections := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var from int
		if n, _ := fmt.Sscan(string(text), &from); n == 1 && from >= privileged+replicas+20*block {
			connections = from
		}
	}
	last = connections - replicas
	return max(privileged, last-ours), last
}

// Test binaries run in parallel, so each process uses blocks of ports that no other process uses: it claims a block by listening on
// the block's first port until it ends.
const block = 50

var ports struct {
	sync.Mutex
	owned     []net.Listener
	next, end int // the ports that are left of the newest block
}

// Free returns a loopback address that is free and that Free has not returned before, in this process or another that runs now.
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

// own tries to claim another block.
func own() {
	start := first + block*rand.IntN((last-first)/block)
	if l, err := net.Listen("tcp", at(start)); err == nil {
		ports.owned = append(ports.owned, l)
		ports.next, ports.end = start+1, start+block
	}
}

func at(port int) string { return fmt.Sprint("127.0.0.1:", port) }
