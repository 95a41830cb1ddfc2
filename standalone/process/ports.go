package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// ports hands out loopback ports to replicas. They lie below those that the kernel gives to outgoing connections: one of
// those might be taken in the time between our finding it free and the replica's listening on it.
type ports struct {
	mu        sync.Mutex
	low, high int // low is included, high is not
	next      int
	taken     map[int]func() // what gives up the claim
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
	return &ports{low: low, high: high, next: low + rand.IntN(portRange), taken: map[int]func(){}} //nolint:gosec // only spreads
}

// take returns a port that nobody has, on loopback or on all addresses.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.high - p.low {
		port := p.next
		if p.next++; p.next == p.high {
			p.next = p.low
		}
		if p.taken[port] != nil {
			continue
		}
		giveUp, err := obtain(port)
		if err != nil {
			return 0, err
		}
		if giveUp != nil {
			p.taken[port] = giveUp
			return port, nil
		}
	}
	return 0, errors.New("all ports from " + strconv.Itoa(p.low) + " to " + strconv.Itoa(p.high-1) + " are in use")
}

// obtain makes a port ours; it returns nil when it is somebody else's, also of another Sluice whose replica does not listen yet.
func obtain(port int) (giveUp func(), err error) {
	giveUp, err = claim(port)
	if giveUp == nil || err != nil {
		return nil, err
	}
	free, err := vacant(port)
	if !free || err != nil {
		giveUp()
		return nil, err
	}
	return giveUp, nil
}

// vacant tells whether nobody has a port. Nobody can connect to it meanwhile: its socket does not listen. If it did, and another
// replica were just being started, then that one's process would have the socket until it executes its program, which may
// be after the replica of this port was started; its readiness probes, and then requests, would be accepted and be reset.
// For the same reason no process is started while the socket exists: the replica could not have its port.
func vacant(port int) (bool, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return false, fmt.Errorf("making a socket: %w", err)
	}
	defer func() { _ = syscall.Close(socket) }() // it was only looked with
	return syscall.Bind(socket, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) == nil, nil
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if giveUp := p.taken[port]; giveUp != nil {
		giveUp()
	}
	delete(p.taken, port)
}
