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

// ports gives loopback ports to replicas. Its ports lie below the kernel's ephemeral range: otherwise the kernel might use one
// for an outgoing connection after we have found it free and before the replica listens on it.
type ports struct {
	low, high int // set once; low is included, high is not

	mu    sync.Mutex
	next  int            // guarded by mu
	taken map[int]func() // guarded by mu; releases the claim of each port
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

// take returns a port on which no process listens, on loopback or on all addresses.
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
		release, err := obtain(port)
		if err != nil {
			return 0, err
		}
		if release != nil {
			p.taken[port] = release
			return port, nil
		}
	}
	return 0, errors.New("all ports from " + strconv.Itoa(p.low) + " to " + strconv.Itoa(p.high-1) + " are in use")
}

// obtain claims a free port. release is nil if another process uses the port, or another Sluice has claimed it for a replica
// that does not listen yet.
func obtain(port int) (release func(), err error) {
	release, err = claim(port)
	if release == nil || err != nil {
		return nil, err
	}
	free, err := vacant(port)
	if !free || err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// vacant reports whether no process uses a port. It binds a socket and does not listen on it: a process that is being started
// at this moment inherits all sockets until it executes its program, which may be after the replica of this port was started.
// If the socket listened, it would accept the replica's probes and requests and then reset them. For the same reason vacant
// takes the fork lock: a replica cannot bind its port while another process has inherited the socket.
func vacant(port int) (bool, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return false, fmt.Errorf("making a socket: %w", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	return syscall.Bind(socket, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) == nil, nil
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if release := p.taken[port]; release != nil {
		release()
	}
	delete(p.taken, port)
}
