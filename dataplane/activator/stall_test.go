package activator

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/test/hop"
)

// stall sends the beginning of a body, and no more of it until the request is answered.
func (b *bench) stall(client *http.Client) answer {
	b.Helper()
	body, end := io.Pipe()
	defer end.Close()
	go func() { _, _ = io.WriteString(end, "abc") }() // over when the pipe is closed
	return do(client, b.request(http.MethodPost, "/", body))
}

func swallow(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

// TestClientsThatStallAreAnswered when the revision's timeout has passed, by the activator and by the queue-proxy, and when their
// replica has died.
func TestClientsThatStallAreAnswered(t *testing.T) {
	const timeout = 200 * time.Millisecond
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			b := start(t, Options{})
			f := facts{"timeout": timeout.Seconds()}
			b.set(cluster, f, addressOf(plain(t, swallow)))
			b.stall(client).want(t, 504, "activator request timeout")
			b.set(cluster, f, replicaOf(t, queueproxy.Options{Timeout: timeout / 2}, swallow))
			b.stall(client).want(t, 504, "request timeout")

			began := make(chan struct{}, 1)
			dies := plain(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, 3))
				began <- struct{}{}
				_, _ = io.Copy(io.Discard, r.Body)
				panic(http.ErrAbortHandler)
			})
			for _, address := range []string{addressOf(dies), queueOf(t, queueproxy.Options{Target: addressOf(dies)})} {
				b.set(cluster, nil, address)
				eventually(t, "the replica", func() bool {
					rs := b.activator.revisions.find(cluster).Replicas()
					return len(rs) == 1 && rs[0].Address == address
				})
				go func() {
					<-began
					dies.CloseClientConnections()
				}()
				b.stall(client).want(t, 502, "did not answer")
			}
			eventually(t, "the end of the requests", func() bool { return b.activator.inFlight.Load() == 0 })
		})
	}
}

// TestClientsThatWereAnsweredEarlyDoNotDelayTheDrain: a client whose body was refused keeps its side of the connection open.
func TestClientsThatWereAnsweredEarlyDoNotDelayTheDrain(t *testing.T) {
	b := start(t, Options{Drain: patience})
	app := hop.NewApp(t, func(conn net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		return false
	})
	b.set(cluster, nil, queueOf(t, queueproxy.Options{Target: app.Address}))
	for _, path := range []string{"/", "/unknown"} {
		headers := revisionHeaders
		if path != "/" {
			headers = "" // nobody knows what for
		}
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			c := hop.Dial(t, b.activator.Address(), headers)
			c.Send("POST " + path + " HTTP/1.1\r\nHost: h\r\n{}" + expect + "Content-Length: 1000\r\n\r\n")
			if got := c.Next("POST"); got.StatusCode < 400 || !got.Close {
				t.Errorf("%s %s: got %d %v", path, expect, got.StatusCode, got.Header)
			}
		}
	}
	b.stop() // Run says nothing of requests that it cut off, and so the drain is looked at
	if n := b.activator.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are left", n)
	}
}

// TestTimeoutDoesNotEndAnUpgradedConnection has a tunnel that is used for longer than a request may take.
func TestTimeoutDoesNotEndAnUpgradedConnection(t *testing.T) {
	const timeout = 100 * time.Millisecond
	b := start(t, Options{})
	app := hop.NewApp(t, func(conn net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, conn)
		return false
	})
	opts := queueproxy.Options{Target: app.Address, Timeout: timeout, ResponseStart: timeout}
	b.set(cluster, facts{"timeout": timeout.Seconds()}, queueOf(t, opts))
	c := hop.Dial(t, b.activator.Address(), revisionHeaders)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}Connection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	c.Want("GET", http.StatusSwitchingProtocols)
	lines := c.In
	for until := time.Now().Add(cutGrace + 5*timeout); time.Now().Before(until); time.Sleep(timeout / 2) {
		c.Send("ping\n")
		if got, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(got) != "ping" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// TestAbandonedAttemptReadsNothing: the transport may be about to read when it gives an attempt up.
func TestAbandonedAttemptReadsNothing(t *testing.T) {
	source, _ := io.Pipe() // nothing ever comes
	body := &attemptBody{ReadCloser: source, cancel: func() {}}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("it read %d bytes, %v", n, err)
	}
}
