package activator

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"sluice.dev/sluice/test/refuser"
)

// Requests whose bodies have been sent go to another replica when the first has said that it did not look at them.
func TestRequestThatAReplicaDidNotProcessGoesToAnother(t *testing.T) {
	for name, say := range map[string]func(f *http2.Framer, stream uint32) error{
		"refused": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"going": func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, refuser.Listen(t, say), addressOf(plain(t, echo)))
			client := clients(t)["h2c"]
			text := strings.Repeat("x", 20_000)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						do(client, b.request(http.MethodPost, "/", strings.NewReader(text))).want(t, 200, text)
					}
				})
			}
			wg.Wait()
			if retried := count(b.activator.metrics.retried); retried == 0 {
				t.Error("no request was sent again")
			}
		})
	}
}

// A replica closes its connections in order, again and again, while requests with bodies are on their way to it.
func TestGoingAwayLosesNoRequestWithABody(t *testing.T) {
	b := start(t, Options{})
	var served atomic.Int64
	b.set(cluster, facts{}, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close") // makes net/http send GOAWAY
		}
		_, _ = io.Copy(w, r.Body)
	})))
	client := clients(t)["h2c"]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				do(client, b.request(http.MethodPost, "/", strings.NewReader("a little body"))).want(t, 200, "a little body")
			}
		})
	}
	wg.Wait()
	if count(b.activator.metrics.retried) == 0 {
		t.Error("no request was sent again")
	}
}
