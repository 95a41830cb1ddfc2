package upstream

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// replica accepts connections, answers each line with itself, and closes a connection after the line "close".
func replica(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != "close"; {
					_, _ = io.WriteString(c, lines.Text()+"\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, address string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	c.Begin()
	return c
}

func TestPoolHandsOutTheNewestConnectionThatIsOpen(t *testing.T) {
	address := replica(t)
	var p Pool
	old, closed := dial(t, address), dial(t, address)
	p.Put(old)
	if _, err := io.WriteString(closed, "close\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := closed.Conn.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // it is never wrapped
		t.Fatalf("read %d bytes, %v", n, err)
	}
	p.Put(closed)
	if got := p.Get(); got != old {
		t.Errorf("got %p, want %p: the newer one is closed", got, old)
	}
	newer := dial(t, address)
	p.Put(old)
	p.Put(newer)
	if got := p.Get(); got != newer {
		t.Error("the newest connection is not the first")
	}
}

func TestClosedPoolKeepsNoConnection(t *testing.T) {
	address := replica(t)
	var p Pool
	idle, busy := dial(t, address), dial(t, address)
	p.Put(idle)
	p.Close()
	p.Put(busy)
	for name, c := range map[string]*Conn{"idle": idle, "put back": busy} {
		if _, err := c.Write([]byte("x\n")); err == nil {
			t.Errorf("the connection that was %s is open", name)
		}
	}
	p.Open()
	again := dial(t, address)
	p.Put(again)
	p.Prune(time.Now())
	if p.Get() != again {
		t.Error("a pool that is open again keeps nothing")
	}
}

func TestHeaderOfAResponseIsBounded(t *testing.T) {
	c := dial(t, replica(t))
	if _, err := io.WriteString(c.Out, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Out.Flush(); err != nil || c.Sent() != len("hello\n") {
		t.Fatalf("sent %d bytes, %v", c.Sent(), err)
	}
	c.BoundHeader()
	c.left = 3
	if got, err := io.ReadAll(c.In); string(got) != "hel" || err != errHeaderTooLarge { //nolint:errorlint // it is never wrapped
		t.Errorf("read %q, %v", got, err)
	}
	c.UnboundHeader()
	if got, err := c.In.ReadString('\n'); got != "lo\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
