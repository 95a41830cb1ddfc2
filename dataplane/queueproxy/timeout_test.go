package queueproxy_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// short is a timeout that shall be reached, roomy one within which something must have happened before, on a busy machine too.
const (
	short = 100 * time.Millisecond
	roomy = 2 * time.Second
)

var timedOut = answer{504, contract.ReasonRequestTimeout, "request timeout"}

// hanging never answers.
func hanging(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// trickling writes a byte every 10 ms for as long as the client lives.
func trickling(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

func TestTimeoutsBeforeTheFirstByteAre504(t *testing.T) {
	target := application(t, http.HandlerFunc(hanging))
	for name, opts := range map[string]queueproxy.Options{
		"whole request":  {Timeout: short},
		"response start": {Timeout: time.Minute, ResponseStart: short},
		"idle":           {Timeout: time.Minute, Idle: short},
	} {
		for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
			t.Run(name+" "+string(protocol), func(t *testing.T) {
				opts.Target, opts.Protocol = target, protocol
				_, address := serve(t, opts)
				if diff := cmp.Diff(timedOut, get(t, client(t, protocol), "http://"+address)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestTimeoutCountsTheWaitInTheQueue(t *testing.T) {
	target := application(t, http.HandlerFunc(hanging))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1, Timeout: 4 * short})
	c := client(t, model.HTTP1)
	first := make(chan answer)
	go func() { first <- get(t, c, "http://"+address) }()
	eventually(t, "the first runs", func() bool { return p.Load().InFlight == 1 })
	if diff := cmp.Diff(timedOut, get(t, c, "http://"+address)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(timedOut, <-first); diff != "" {
		t.Error(diff)
	}
}

func TestTimeoutCutsAResponseThatHasBegun(t *testing.T) {
	target := application(t, http.HandlerFunc(trickling))
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			_, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol, Timeout: roomy})
			response, err := client(t, protocol).Get("http://" + address)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err == nil || len(body) == 0 || strings.Trim(string(body), "x") != "" {
				t.Errorf("a cut response ended with %v after %q", err, body)
			}
		})
	}
}

func TestWritesKeepTheIdleTimeoutAway(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 30 {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(roomy / 20)
		}
	}))
	_, address := serve(t, queueproxy.Options{Target: target, Idle: roomy, ResponseStart: roomy})
	if got := get(t, client(t, model.HTTP1), "http://"+address); len(got.Body) != 30 {
		t.Errorf("got %v", got)
	}
}

// TestTimeoutEndsAClientThatSendsItsBodySlowly: neither the application nor the proxy may be held up by a read.
func TestTimeoutEndsAClientThatSendsItsBodySlowly(t *testing.T) {
	target := application(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	p, address := serve(t, queueproxy.Options{Target: target, Timeout: short})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 504 ")) {
		t.Errorf("got %q, %v", got, err)
	}
	eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
}

// TestTimeoutEndsAClientThatReadsSlowly: a blocked write must not outlive the timeout.
func TestTimeoutEndsAClientThatReadsSlowly(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 64<<20))
	}))
	p, address := serve(t, queueproxy.Options{Target: target, Timeout: 2 * short})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request runs", func() bool { return p.Load().Requests == 1 })
	eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
}

// TestIdleTimeoutEndsAnUpgradedConnection has it closed; upgrade_test.go has what keeps it open.
func TestIdleTimeoutEndsAnUpgradedConnection(t *testing.T) {
	target := application(t, http.HandlerFunc(echoWebSocket))
	p, address := serve(t, queueproxy.Options{Target: target, Idle: roomy})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the connection ended with %v", err)
	}
	eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
}

func TestConnectionIsReusedAfterARequestWithTimeout(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_, address := serve(t, queueproxy.Options{Target: target, Timeout: roomy})
	c := client(t, model.HTTP1)
	for range 5 {
		if got := get(t, c, "http://"+address); got.Status != 200 {
			t.Fatalf("got %v", got)
		}
		time.Sleep(roomy / 4) // the timeouts of earlier requests would hit here if they were still armed
	}
}
