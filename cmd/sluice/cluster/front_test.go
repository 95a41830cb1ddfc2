package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// patience bounds how long a test waits for what must come.
const patience = time.Minute

// startFront runs a front for the time of the test.
func startFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(listener, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := f.run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		ended.Wait()
	})
	return f
}

func (f *front) address() string { return f.listener.Addr().String() }

// answer serves connections of a listener with lines that begin with a name.
func answer(t *testing.T, listener net.Listener, name string) {
	t.Helper()
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintf(conn, "%s %s\n", name, lines.Text())
				}
			}()
		}
	}()
}

// caller is a connection to a front.
type caller struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, f *front) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", f.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &caller{t, conn, bufio.NewReader(conn)}
}

// ask sends a word and returns who answers; empty if the connection is closed.
func (c *caller) ask(word string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.conn, word); err != nil {
		return ""
	}
	var who, back string
	line, err := c.lines.ReadString('\n')
	if err == io.EOF || err != nil && line == "" {
		return ""
	}
	if _, err := fmt.Sscan(line, &who, &back); err != nil || back != word {
		c.t.Fatalf("got %q for %q: %v", line, word, err)
	}
	return who
}

func TestClientReachesTheLeaderThroughAnyReplica(t *testing.T) {
	leading, following := startFront(t), startFront(t)
	answer(t, leading.lead(), "leader")
	following.follow(leading.address())
	for i := range 3 {
		for _, f := range []*front{leading, following} {
			if who := dial(t, f).ask(fmt.Sprint("hello", i)); who != "leader" {
				t.Errorf("got an answer of %q, want one of the leader", who)
			}
		}
	}
}

func TestConnectionWaitsUntilSomebodyLeads(t *testing.T) {
	f := startFront(t)
	c := dial(t, f)
	got := make(chan string)
	go func() { got <- c.ask("hello") }()
	answer(t, f.lead(), "leader")
	if who := <-got; who != "leader" {
		t.Errorf("got an answer of %q, want one of the leader", who)
	}
}

func TestClientsConnectAgainWhenAnotherReplicaLeads(t *testing.T) {
	old, replica := startFront(t), startFront(t)
	answer(t, old.lead(), "old")
	replica.follow(old.address())
	c := dial(t, replica)
	if who := c.ask("hello"); who != "old" {
		t.Fatalf("got an answer of %q", who)
	}
	// The old leader still answers, such as one that cannot reach the API server.
	answer(t, replica.lead(), "new")
	if who := c.ask("again"); who != "" {
		t.Errorf("got an answer of %q on a connection to the old leader, want its end", who)
	}
	if who := dial(t, replica).ask("hello"); who != "new" {
		t.Errorf("got an answer of %q, want one of the new leader", who)
	}
}

func TestConnectionEndsWhenTheLeaderCannotBeReached(t *testing.T) {
	f := startFront(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	f.follow(gone.Addr().String())
	if who := dial(t, f).ask("hello"); who != "" {
		t.Errorf("got an answer of %q, want the end of the connection", who)
	}
}
