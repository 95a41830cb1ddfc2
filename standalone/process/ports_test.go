package process

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// A replica is ready when its port accepts connections, so only its application may accept one.
func TestPortThatIsTakenAcceptsNoConnection(t *testing.T) {
	p := newPorts()
	port, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	p.release(port)
	p.low, p.high, p.next = port, port+1, port // so that take returns this port again and again
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if conn, err := net.Dial("tcp", net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
				conn.Close()
				t.Error("a port accepted a connection during take")
				return
			}
		}
	})
	for range 3000 {
		if _, err := p.take(); err != nil {
			t.Error(err)
			break
		}
		p.release(port)
	}
	close(stop)
	group.Wait()
}

// A process that is being started has all of our descriptors until it executes its program.
func TestNoProcessInheritsAPortThatIsTaken(t *testing.T) {
	start := func() error { return exec.Command(os.Args[0], "-test.run=^$").Run() }
	if err := start(); err != nil { // at the first start the standard library tests a kernel feature with a child of its own
		t.Fatal(err)
	}
	p := newPorts()
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := start(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3000 {
		port, err := p.take()
		if err != nil {
			t.Error(err)
			break
		}
		if free, err := vacant(port); !free || err != nil {
			t.Errorf("port %d was free when it was taken, and cannot be listened on: %v", port, err)
		}
		p.release(port)
	}
	close(stop)
	group.Wait()
}

// Two Sluice processes on one machine share only the kernel. Without claims, both could find a port free before the replica of
// either listens on it. Then one replica would get the probes and requests of the other.
func TestTwoRuntimesNeverTakeTheSamePort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has sockets that can claim a port")
	}
	a, b := newPorts(), newPorts()
	port, err := a.take()
	if err != nil {
		t.Fatal(err)
	}
	b.low, b.high, b.next = port, port+1, port
	if _, err := b.take(); err == nil {
		t.Fatalf("port %d was taken twice", port)
	}
	a.release(port)
	if _, err := b.take(); err != nil {
		t.Errorf("a port that was released cannot be taken: %v", err)
	}
	b.release(port)
}
