package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"sluice.dev/sluice/dataplane/replay"
)

// stillSending begins a request. send sends more of its body, end ends it, and got yields the body of the response with its trailer.
func stillSending(client *http.Client, url string) (send func(text string), end func(), got <-chan string) {
	in, out := io.Pipe()
	answer := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, url, in) // the URL is ours
		req.Trailer = http.Header{"X-End": {"end"}}
		res, err := client.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answer <- fmt.Sprint(res.StatusCode, " ", string(body), " ", res.Trailer.Get("X-Status"), " ", err)
	}()
	return func(text string) { _, _ = io.WriteString(out, text) }, func() { out.Close() }, answer
}

func wantAnswer(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case answer := <-got:
		if answer != want {
			t.Errorf("got %q, want %q", answer, want)
		}
	case <-time.After(waitLimit):
		t.Error("no answer")
	}
}

// eachWay runs a test for both protocols on both sides, with the path of the route.
func eachWay(t *testing.T, test func(t *testing.T, client *http.Client, path string)) {
	for _, path := range []string{"/h1", "/h2c"} {
		for protocol, client := range map[string]*http.Client{"HTTP/1.1": noRedirects, "h2c": h2cClient()} {
			t.Run(protocol+path, func(t *testing.T) { test(t, client, path) })
		}
	}
}

// An application may respond before the request has ended, as a gRPC server does when it rejects a stream.
func TestAnEarlyAnswerEndsTheRequest(t *testing.T) {
	b := start(t, Options{})
	early := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or net/http would read the body first
		w.Header().Set("Trailer", "X-Status")
		fmt.Fprint(w, "early")
		w.Header().Set("X-Status", "refused")
	})
	b.push(all(one(plain(t)), backend(t, "h1", early), h2cBackend(t, "h2c", early),
		one(routes(t, vhost("h", "*", to(prefix("/h1"), "h1"), to(prefix("/"), "h2c")))))...)
	eachWay(t, func(t *testing.T, client *http.Client, path string) {
		send, end, got := stillSending(client, "http://"+b.address("http")+path)
		defer end()
		send("and so on")
		wantAnswer(t, got, "200 early refused <nil>")
	})
}

// An endpoint says that it has not processed a request while the client still sends: the gateway retries at another endpoint.
func TestARequestIsSentAgainWhileItsClientStillSends(t *testing.T) {
	b := start(t, Options{})
	var mu sync.Mutex
	refused, taken := false, make(chan struct{}, 1)
	address := func() string {
		return upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.CopyN(io.Discard, r.Body, 6)
			mu.Lock()
			first := !refused
			refused = true
			mu.Unlock()
			if first {
				w.Header().Set("Sluice-Reason", "Unsent")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			taken <- struct{}{}
			rest, _ := io.ReadAll(r.Body) // the answer is compared
			fmt.Fprint(w, "first ", string(rest), r.Trailer.Get("X-End"))
		})
	}
	on := func(a *routev3.RouteAction) {
		retries("retriable-headers", 2)(a)
		a.RetryPolicy.RetriableHeaders = []*routev3.HeaderMatcher{{
			Name:                 "sluice-reason",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "Unsent"}, //nolint:staticcheck // still the API's
		}}
	}
	b.push(all(one(plain(t)), backend(t, "h1", address(), address()), h2cBackend(t, "h2c", address(), address()),
		one(routes(t, vhost("h", "*", to(prefix("/h1"), "h1", on), to(prefix("/"), "h2c", on)))))...)
	large := strings.Repeat("x", 2*replay.Limit)
	eachWay(t, func(t *testing.T, client *http.Client, path string) {
		mu.Lock()
		refused = false
		mu.Unlock()
		send, end, got := stillSending(client, "http://"+b.address("http")+path)
		send("first ")
		select {
		case <-taken:
		case <-time.After(waitLimit):
			t.Fatal("no other endpoint has got the request")
		}
		send("second ")
		send(large)
		end()
		wantAnswer(t, got, "200 first second "+large+"end  <nil>")
	})
}
