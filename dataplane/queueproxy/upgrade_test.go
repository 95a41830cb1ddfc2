package queueproxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// hijackable is a writer that gives its connection away.
type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// upgraded begins a request that asks for another protocol; upgrade has it answered with 101. The two connections are the ends of the
// client's.
func upgraded(t *testing.T, opts Options) (e *exchange, upgrade func() (client, server net.Conn)) {
	client, server := net.Pipe()
	p := New(opts)
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	e, r = p.newExchange(hijackable{httptest.NewRecorder(), server}, r, nil)
	t.Cleanup(func() { e.end(r) })
	return e, func() (net.Conn, net.Conn) {
		conn, _, err := e.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		return client, conn
	}
}

// alive fails the test if the exchange was ended.
func alive(t *testing.T, e *exchange) {
	t.Helper()
	synctest.Wait()
	if e.ctx.Err() != nil {
		t.Fatalf("it was ended: %v", context.Cause(e.ctx))
	}
}

func TestOnlyTheIdleTimeoutEndsAnUpgradedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, upgrade := upgraded(t, Options{Timeout: 3 * time.Second, ResponseStart: 2 * time.Second})
		time.Sleep(time.Second)
		upgrade()
		time.Sleep(24 * time.Hour)
		alive(t, e)
	})
}

func TestBytesOfEitherSideRestartTheIdleTimeout(t *testing.T) {
	for name, send := range map[string]func(client, server net.Conn) (from, to net.Conn){
		"the client":      func(client, server net.Conn) (from, to net.Conn) { return client, server },
		"the application": func(client, server net.Conn) (from, to net.Conn) { return server, client },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, upgrade := upgraded(t, Options{Timeout: 3 * time.Second, ResponseStart: 2 * time.Second, Idle: 4 * time.Second})
				time.Sleep(time.Second)
				from, to := send(upgrade())
				for range 100 {
					time.Sleep(3 * time.Second)
					alive(t, e)
					go func() { _, _ = from.Write([]byte("x")) }()
					if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(3 * time.Second)
				alive(t, e)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if cause := context.Cause(e.ctx); !errors.Is(cause, errRequestTimeout) {
					t.Errorf("an idle connection ended with %v", cause)
				}
			})
		})
	}
}

func TestTimeoutsEndRequestsThatAreNotUpgraded(t *testing.T) {
	for name, opts := range map[string]Options{
		"whole request": {Timeout: 3 * time.Second}, "response start": {ResponseStart: 3 * time.Second}, "idle": {Idle: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _ := upgraded(t, opts)
				time.Sleep(2 * time.Second)
				alive(t, e)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if cause := context.Cause(e.ctx); !errors.Is(cause, errRequestTimeout) {
					t.Errorf("it ended with %v", cause)
				}
			})
		})
	}
}
