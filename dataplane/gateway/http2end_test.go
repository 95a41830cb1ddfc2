package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/test/refuser"
)

// The gateway may retry a request whose body it has sent, if the endpoint has said that it did not process the request.
func TestARequestThatAnEndpointDidNotProcessIsRetriedElsewhere(t *testing.T) {
	for name, say := range map[string]func(f *http2.Framer, stream uint32) error{
		"refused": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"going": func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{})
			stays := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			b.push(all(one(plain(t)), h2cBackend(t, "c", refuser.Listen(t, say), stays),
				one(routes(t, vhost("h", "*", to(prefix("/"), "c", retries("connect-failure,refused-stream", 2))))))...)
			for range 20 {
				text := strings.Repeat("x", 20_000)
				req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader(text))
				b.do(req).want(t, 200, text)
			}
			if retried := b.gateway.proxy.Clusters.Get("c").Stats.RqRetry.Load(); retried < 10 {
				t.Errorf("%d of 20 requests were sent again", retried)
			}
		})
	}
}

// It must not retry a request that the endpoint may have processed, nor one that is too large to be kept.
func TestARequestThatAnEndpointMayHaveProcessedIsNotRetried(t *testing.T) {
	b := start(t, Options{})
	reset := refuser.Listen(t, func(f *http2.Framer, stream uint32) error { return f.WriteRSTStream(stream, http2.ErrCodeInternal) })
	refuses := refuser.Listen(t, func(f *http2.Framer, stream uint32) error {
		return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
	})
	stays := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	b.push(all(one(plain(t)), h2cBackend(t, "reset", reset), h2cBackend(t, "refuses", refuses, stays),
		one(routes(t, vhost("h", "*", to(prefix("/reset"), "reset", retries("connect-failure,refused-stream", 2)),
			to(prefix("/"), "refuses", retries("connect-failure,refused-stream", 2))))))...)
	req, _ := http.NewRequest(http.MethodPost, "http://h/reset", strings.NewReader("x"))
	b.do(req).want(t, 503, upstreamReset+"connection termination")
	failed := 0
	for range 10 {
		req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader(strings.Repeat("x", replay.Limit+1)))
		if b.do(req).StatusCode == 503 {
			failed++
		}
	}
	if failed != 5 {
		t.Errorf("%d of 10 large requests failed, want 5", failed)
	}
}
