package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// ports hands out loopback ports to replicas. They lie below those that the kernel gives to outgoing connections: one of
// those might be taken in the time between our finding it free and the replica's listening on it.
type ports struct {
	mu        sync.Mutex
	low, high int // low is included, high is not
	next      int
	taken     map[int]bool
}

const portRange = 10000

func newPorts() *ports {
	high := 32768 // the kernel's default
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first, last int
		if n, _ := fmt.Sscan(string(text), &first, &last); n == 2 && first >= 1024+portRange {
			high = first
		}
	}
	low := high - portRange
	return &ports{low: low, high: high, next: low + rand.IntN(portRange), taken: map[int]bool{}} //nolint:gosec // only spreads
}

// take returns a port that nobody listens on and that is not taken.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.high - p.low {
		port := p.next
		if p.next++; p.next == p.high {
			p.next = p.low
		}
		if p.taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		_ = listener.Close()
		p.taken[port] = true
		return port, nil
	}
	return 0, errors.New("all ports from " + strconv.Itoa(p.low) + " to " + strconv.Itoa(p.high-1) + " are in use")
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}
