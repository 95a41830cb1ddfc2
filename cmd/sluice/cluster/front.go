package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// front takes the connections of xDS clients at the address of this replica. While this replica leads, its own xDS server gets them. While
// another one leads, the front passes their bytes on to that one: TLS is between the client and the leader. While none is known, they wait.
type front struct {
	log      hclog.Logger
	listener net.Listener

	mu      sync.Mutex
	own     *inbox              // of this replica's server; nil: it does not lead
	leader  string              // host:port of another replica's front; empty: none is known
	changed chan struct{}       // closed and replaced when own or leader change
	relayed map[net.Conn]string // connections of clients, with the leader that they are passed on to
}

const (
	// leaderPatience bounds how long a connection waits for a leader, so that it is closed before most clients give up by themselves.
	leaderPatience = 15 * time.Second
	// dialPatience bounds the connection to the leader.
	dialPatience = 3 * time.Second
	// mostRelayed bounds the connections that are passed on or wait at a time.
	mostRelayed = 10_000
)

func newFront(listener net.Listener, log hclog.Logger) *front {
	return &front{log: log, listener: listener, changed: make(chan struct{}), relayed: map[net.Conn]string{}}
}

// run takes connections until the context ends.
func (f *front) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { f.listener.Close() })()
	var all sync.WaitGroup
	defer all.Wait()
	defer f.drop(func(string) bool { return true })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, mostRelayed)
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			f.log.Warn("cannot take a connection", "error", err)
			time.Sleep(100 * time.Millisecond) // such as without descriptors
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f.pass(ctx, conn)
		})
	}
}

// lead returns a listener with the connections that come from now on. follow or closing it ends that.
func (f *front) lead() net.Listener {
	own := &inbox{address: f.listener.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	f.set(own, "")
	f.drop(func(string) bool { return true })
	return own
}

// follow passes connections on to the leader from now on. Those that are passed on to another one are closed, so that their clients
// connect again.
func (f *front) follow(leader string) {
	f.set(nil, leader)
	f.drop(func(to string) bool { return to != leader })
}

func (f *front) set(own *inbox, leader string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own, f.leader = own, leader
	close(f.changed)
	f.changed = make(chan struct{})
}

// drop closes the relayed connections whose leader is.
func (f *front) drop(is func(leader string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn, to := range f.relayed {
		if is(to) {
			end(conn)
		}
	}
}

// end closes a connection. What its peer has not read by then is of no use.
func end(conn net.Conn) { _ = conn.Close() }

// pass gives a connection to whoever leads.
func (f *front) pass(ctx context.Context, conn net.Conn) {
	own, leader := f.await(ctx)
	switch {
	case own != nil:
		if own.give(ctx, conn) {
			return
		}
	case leader != "":
		f.relay(ctx, conn, leader)
	}
	end(conn)
}

// await waits until somebody leads.
func (f *front) await(ctx context.Context) (*inbox, string) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		f.mu.Lock()
		own, leader, changed := f.own, f.leader, f.changed
		f.mu.Unlock()
		if own != nil || leader != "" {
			return own, leader
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ""
		}
	}
}

// relay copies bytes both ways until one side ends.
func (f *front) relay(ctx context.Context, conn net.Conn, leader string) {
	dialer := net.Dialer{Timeout: dialPatience}
	to, err := dialer.DialContext(ctx, "tcp", leader)
	if err != nil {
		f.log.Warn("cannot pass an xDS client on to the leader", "client", conn.RemoteAddr(), "leader", leader, "error", err)
		return
	}
	f.mu.Lock()
	f.relayed[conn] = leader
	current := f.leader == leader
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.relayed, conn)
		f.mu.Unlock()
	}()
	if !current { // it changed after await: drop has not seen this connection
		end(to)
		return
	}
	stop := context.AfterFunc(ctx, func() { end(conn) })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, to) // either error means that one side has ended
		end(conn)
	})
	_, _ = io.Copy(to, conn)
	end(to)
	back.Wait()
}

// inbox is a listener whose connections somebody else has accepted.
type inbox struct {
	address net.Addr
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// give hands over a connection. It reports false when the listener is closed.
func (i *inbox) give(ctx context.Context, conn net.Conn) bool {
	select {
	case i.conns <- conn:
		return true
	case <-i.closed:
	case <-ctx.Done():
	}
	return false
}

var errClosed = errors.New("this replica does not lead any more")

// Accept implements net.Listener.
func (i *inbox) Accept() (net.Conn, error) {
	select {
	case conn := <-i.conns:
		return conn, nil
	case <-i.closed:
		return nil, errClosed
	}
}

// Close implements net.Listener.
func (i *inbox) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr implements net.Listener.
func (i *inbox) Addr() net.Addr { return i.address }
