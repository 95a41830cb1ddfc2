package envoy_test

import (
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// door stands between an Envoy and the xDS server.
type door struct {
	server   string
	listener net.Listener
	accepted atomic.Int64

	mu    sync.Mutex
	state doorState
	conns []net.Conn
}

type doorState int

const (
	open   doorState = iota
	closed           // connections end at once
	stuck            // connections that there are stay, and nothing comes through
)

func newDoor(t *testing.T, server string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{server: server, listener: l}
	t.Cleanup(func() { l.Close(); d.set(closed) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted.Add(1)
			d.admit(conn)
		}
	}()
	return d
}

func (d *door) admit(from net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == closed {
		from.Close()
		return
	}
	to, err := net.Dial("tcp", d.server)
	if err != nil {
		from.Close()
		return
	}
	d.state = open // for those who come anew
	d.conns = append(d.conns, from, to)
	jammed := &atomic.Bool{}
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(valve{pair[0], jammed, d}, pair[1])
			pair[0].Close()
		}()
	}
}

// valve passes on what is written, unless its door is stuck: from then on it swallows all.
type valve struct {
	net.Conn
	jammed *atomic.Bool
	door   *door
}

func (v valve) Write(p []byte) (int, error) {
	v.door.mu.Lock()
	if v.door.state == stuck {
		v.jammed.Store(true)
	}
	v.door.mu.Unlock()
	if v.jammed.Load() {
		return len(p), nil
	}
	return v.Conn.Write(p)
}

func (d *door) set(state doorState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = state
	if state != closed {
		return
	}
	for _, c := range d.conns {
		c.Close()
	}
	d.conns = nil
}

// streamsEnd is what Envoy says while the server is away.
var streamsEnd = regexp.MustCompile(`gRPC config stream (to xds_cluster )?closed`)

// While the server is away Envoy must not wait long between two attempts, which bounds how long it still waits when the server is back.
func TestRealEnvoyReconnectsSoonAfterALongOutage(t *testing.T) {
	t.Parallel()
	var d *door
	r := startReal(t, setting{application: hello, expected: []*regexp.Regexp{streamsEnd}, between: func(server string) string {
		d = newDoor(t, server)
		return d.listener.Addr().String()
	}})
	d.set(closed)
	before := d.accepted.Load()
	// With Envoy's own back-off there are some seven in 30 seconds.
	await(t, "twenty attempts within half a minute", func() bool { return d.accepted.Load() >= before+20 })
	r.xds.route("hello.default.localhost", "later.default.localhost")
	d.set(open)
	await(t, "Envoy has what changed meanwhile", func() bool {
		dump, err := r.ask("GET", "/config_dump?resource=dynamic_route_configs")
		return err == nil && strings.Contains(dump, "later.default.localhost")
	})
}

// A connection on which nothing comes back is given up, though nobody has closed it.
func TestRealEnvoyNoticesAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	var d *door
	r := startReal(t, setting{application: hello, expected: []*regexp.Regexp{streamsEnd}, between: func(server string) string {
		d = newDoor(t, server)
		return d.listener.Addr().String()
	}})
	before := d.accepted.Load()
	d.set(stuck)
	r.xds.route("hello.default.localhost", "later.default.localhost")
	await(t, "Envoy opens another connection", func() bool { return d.accepted.Load() > before })
	await(t, "Envoy has what changed meanwhile", func() bool {
		dump, err := r.ask("GET", "/config_dump?resource=dynamic_route_configs")
		return err == nil && strings.Contains(dump, "later.default.localhost")
	})
}
