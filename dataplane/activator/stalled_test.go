package activator

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
)

// endless answers without an end, on an upgraded connection if it is asked for one.
func endless(w http.ResponseWriter, r *http.Request) {
	to := io.Writer(w)
	switch {
	case r.URL.Path != "/endless":
		return
	case r.Header.Get("Upgrade") != "":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		// If this fails, so does the next write.
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: endless\r\n\r\n")
		to = conn
	}
	for chunk := strings.Repeat("x", 64<<10); ; {
		if _, err := io.WriteString(to, chunk); err != nil {
			return
		}
	}
}

// TestStalledClientGivesItsSlotBack has clients that take nothing of an endless response. The queue-proxy ends that after the
// revision's timeout, and the client is not waited for either.
func TestStalledClientGivesItsSlotBack(t *testing.T) {
	for protocol, client := range clients(t) {
		for name, headers := range map[string][]string{"response": nil, "tunnel": {"Connection", "Upgrade", "Upgrade", "endless"}} {
			if name == "tunnel" && protocol == "h2c" {
				continue // HTTP/2 has none
			}
			t.Run(protocol+" "+name, func(t *testing.T) {
				const timeout = time.Second
				b := start(t, Options{})
				opts := queueproxy.Options{Concurrency: 1, Timeout: timeout}
				b.set(cluster, facts{"concurrency": 1.0, "timeout": timeout.Seconds()}, replicaOf(t, opts, endless))
				res, err := client.Do(b.request(http.MethodGet, "/endless", nil, headers...))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				eventually(t, "the end of the request", func() bool {
					inFlight, _ := b.activator.revisions.find(cluster).Counts()
					return inFlight == 0
				})
			})
		}
	}
}
