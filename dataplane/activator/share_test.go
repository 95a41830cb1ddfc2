package activator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestRefusedAndClosedConnectionsFailNoRequestOverHTTP2(t *testing.T) {
	b := start(t, Options{})
	c := clients(t)["h2c"]
	dead := listener(t)
	s := plain(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	b.set(cluster, nil, dead.Addr().String(), addressOf(s))
	dead.Close()
	for range 20 {
		do(c, b.request(http.MethodPost, "/", strings.NewReader("body"))).want(t, 200, "body")
	}
	if count(b.activator.metrics.retried) == 0 {
		t.Error("the dead replica was never tried")
	}
	for range 5 {
		s.CloseClientConnections()
		eventually(t, "a request on a new connection", func() bool {
			// The transport may not have noticed yet; then the request may have been received, and is not sent again.
			a := do(c, b.request(http.MethodPost, "/", strings.NewReader("body")))
			return a.err == nil && a.StatusCode == 200
		})
	}
}

func TestEachActivatorUsesItsShare(t *testing.T) {
	b := start(t, Options{})
	var addresses []string
	for range 4 {
		addresses = append(addresses, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Context().Value(http.LocalAddrContextKey).(fmt.Stringer).String())
		})))
	}
	ours := func(f facts) int {
		b.set(cluster, f, addresses...)
		b.get().want(t, 200, "127.0.0.1")
		n := 0
		eventually(t, "the shares", func() bool {
			s := b.activator.revisions.find(cluster).Status()
			n = s.Assigned
			return s.Concurrency == int(f["concurrency"].(float64)) && s.Endpoints == 4
		})
		return n
	}
	other := "127.0.0.1:1"
	if n := ours(facts{"concurrency": 1.0, "activators": []any{other, b.activator.Address()}}); n != 2 {
		t.Errorf("one of two activators uses %d of 4", n)
	}
	if n := ours(facts{"concurrency": 2.0, "activators": []any{other}}); n != 4 {
		t.Errorf("one that is not named uses %d of 4", n)
	}
	if n := ours(facts{"concurrency": 0.0, "activators": []any{other, b.activator.Address()}}); n != 4 {
		t.Errorf("without a limit one of two uses %d of 4", n)
	}
}

func TestEndOfTheDrainClosesUpgradedConnections(t *testing.T) {
	b := start(t, Options{Drain: 100 * time.Millisecond})
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_, _, _ = c.Read(context.Background())
		}
	})))
	c, _, err := websocket.Dial(t.Context(), "ws://"+b.activator.Address(),
		&websocket.DialOptions{HTTPHeader: b.request(http.MethodGet, "/", nil).Header})
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("the connection is still there")
	}
}

func TestClientThatLeavesFreesItsSlot(t *testing.T) {
	b := start(t, Options{})
	inside := make(chan struct{}, 1)
	b.set(cluster, facts{"concurrency": 1.0}, addressOf(plain(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			inside <- struct{}{}
			<-r.Context().Done()
		}
	})))
	for _, c := range clients(t) {
		ctx, cancel := context.WithCancel(t.Context())
		stuck := make(chan answer, 1)
		go func() { stuck <- do(c, b.request(http.MethodGet, "/stuck", nil).WithContext(ctx)) }()
		<-inside
		cancel()
		<-stuck
		do(c, b.request(http.MethodGet, "/", nil)).want(t, 200, "")
	}
}
