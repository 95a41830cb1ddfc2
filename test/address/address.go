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

// given are the ports that this process has been given.
var given sync.Map

// Free is a loopback address that nobody listens on and nobody in this process was given before.
func Free(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := first + rand.IntN(last-first)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		address := fmt.Sprint("127.0.0.1:", port)
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatalf("no port from %d to %d is free", first, last)
	return ""
}
