package http

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClientsThatStallHoldNoConnections has many clients stall in their bodies. They get an error when the application ends or their time
// is up, and they do not close their connections. Each hop must close all of them then, and its own to the application: each costs a
// descriptor.
func TestClientsThatStallHoldNoConnections(t *testing.T) {
	const clients = 100
	for _, h := range hops {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			a := startApp(t)
			a.extra = h.extra
			at := h.start(t, a.address)
			release := make(chan struct{})
			a.expect(func(c *appConn) { _, _ = c.reader.ReadString('o'); <-release; c.hangUp() })
			stalled := make([]*conversation, clients)
			for i := range stalled {
				stalled[i] = dial(t, at, a)
				defer stalled[i].Close()
				stalled[i].send(post + chunked + end + "5\r\nhello\r\n")
			}
			if held := connections(t, at, a.address); held == 0 {
				t.Error("none of the connections is counted")
			}
			close(release)
			var answered sync.WaitGroup
			for _, c := range stalled {
				answered.Go(func() { c.read(" 50") })
			}
			answered.Wait()
			for _, c := range stalled {
				if c.failed != nil {
					t.Fatal(c.failed)
				}
			}
			for deadline := time.Now().Add(waitLimit); ; time.Sleep(20 * time.Millisecond) {
				held := connections(t, at, a.address)
				if held == 0 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d connections are open after %d clients that stalled have their answers", held, clients)
				}
			}
		})
	}
}

// connections counts the TCP connections that a hop has open: those of its clients, and its own to the application.
func connections(t *testing.T, hop, app string) (open int) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skipf("connections cannot be counted here: %v", err)
	}
	kernels := func(address string) string {
		a := netip.MustParseAddrPort(address)
		ip := a.Addr().As4()
		return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port())
	}
	const established, closeWait = "01", "08" // in other states a connection has no descriptor
	local, remote := kernels(hop), kernels(app)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 3 && (f[1] == local || f[2] == remote) && (f[3] == established || f[3] == closeWait) {
			open++
		}
	}
	return open
}
