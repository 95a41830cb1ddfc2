package activator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/model"
)

// gone runs a queue-proxy whose application is not there.
func gone(t testing.TB) (address string) {
	t.Helper()
	proxy := queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"}) // nobody listens on that port
	front := listener(t)
	go func() { _ = proxy.Serve(front) }() // until Close
	t.Cleanup(proxy.Close)
	return front.Addr().String()
}

// unsentAfter is a replica that has read so many bytes of a body, or all of it with -1, when it says that it has not passed the
// request on.
func unsentAfter(t testing.TB, n int64) (address string) {
	t.Helper()
	return addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or net/http would read the body first
		if n < 0 {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = io.CopyN(io.Discard, r.Body, n)
		w.Header().Set(contract.ReasonHeader, contract.ReasonUnsent)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
}

// echo answers with the body that it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	_, _ = io.Copy(w, r.Body)
}

// TestUnsentRequestsGoToAnotherReplica has two replicas, and the application of one of them is not there.
func TestUnsentRequestsGoToAnotherReplica(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			good := replicaOf(t, queueproxy.Options{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			b.set(cluster, facts{}, gone(t), good)
			for range 15 {
				do(client, b.request(http.MethodGet, "/", nil)).want(t, 200, "")
				do(client, b.request(http.MethodPost, "/", strings.NewReader("ping"))).want(t, 200, "ping")
				do(client, b.request(http.MethodPost, "/", iotest.OneByteReader(strings.NewReader("of unknown length")))).want(t, 200,
					"of unknown length")
			}
			if retried := count(b.activator.metrics.retried); retried == 0 {
				t.Error("the replica whose application is not there was sent nothing")
			}
		})
	}
}

// TestReplicaOfAnotherRevisionAnswersNothing has two addresses, one of which another revision's replica has by now.
func TestReplicaOfAnotherRevisionAnswersNothing(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			other := replicaOf(t, queueproxy.Options{Revision: model.Key{Namespace: "default", Name: "other-00001"}}, says("wrong"))
			own := replicaOf(t, queueproxy.Options{Revision: model.Key{Namespace: "default", Name: "hello-00001"}}, says("right"))
			b.set(cluster, facts{}, other, own)
			for range 15 {
				do(client, b.request(http.MethodGet, "/", nil)).want(t, 200, "right")
			}
			if retried := count(b.activator.metrics.retried); retried == 0 {
				t.Error("the other revision's replica was sent nothing")
			}
		})
	}
}

// TestApplicationCannotCauseARetry has an application that passes on the answer of another service, whose replica did
// not get what this one asked it for.
func TestApplicationCannotCauseARetry(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			var received atomic.Int64
			b.set(cluster, facts{}, replicaOf(t, queueproxy.Options{}, func(w http.ResponseWriter, _ *http.Request) {
				if received.Add(1) == 1 {
					w.Header().Set(contract.ReasonHeader, contract.ReasonUnsent)
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			a := do(client, b.request(http.MethodPost, "/", strings.NewReader("body")))
			a.want(t, 503, "")
			if got := a.Header.Get(contract.ReasonHeader); got != "" || received.Load() != 1 {
				t.Errorf("the application received the request %d times, and the client the reason %q", received.Load(), got)
			}
		})
	}
}

// What has been read to its end when the replica says that it has not passed it on is sent again, as long as it is little.
func TestRequestWithABodyOverTheLimitIsNotRetried(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, unsentAfter(t, -1), addressOf(plain(t, echo)))
			fits, passed := strings.Repeat("x", replay.Limit), 0
			for range 10 {
				do(client, b.request(http.MethodPost, "/", strings.NewReader(fits))).want(t, 200, fits)
				a := do(client, b.request(http.MethodPost, "/", strings.NewReader(fits+"x")))
				if a.Header.Get(contract.ReasonHeader) == contract.ReasonUnsent {
					passed++
					continue
				}
				a.want(t, 200, fits+"x")
			}
			if retried := count(b.activator.metrics.retried); retried == 0 && passed == 0 || passed > 5 {
				t.Errorf("%d requests were sent again and %d were passed back", retried, passed)
			}
		})
	}
}

func TestARequestWithABodyIsHeldUntilAReplicaTakesIt(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, gone(t), unsentAfter(t, -1), closedPort(t))
			held := make(chan answer, 20)
			for i := range cap(held) {
				go func() {
					held <- do(client, b.request(http.MethodPost, "/", strings.NewReader(fmt.Sprint("body ", i%10))))
				}()
			}
			eventually(t, "all to have been refused", func() bool { return count(b.activator.metrics.retried) >= cap(held) })
			b.set(cluster, facts{}, replicaOf(t, queueproxy.Options{}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			}))
			for range cap(held) {
				await(t, held).want(t, 200, "body ")
			}
		})
	}
}

func closedPort(t testing.TB) (address string) {
	t.Helper()
	ln := listener(t)
	ln.Close()
	return ln.Addr().String()
}

// TestRequestIsRetriedWhileItsClientStillSends has the client send the second part after the first replica has said that it will
// not pass the request on.
func TestRequestIsRetriedWhileItsClientStillSends(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, unsentAfter(t, 6))
			in, out := io.Pipe()
			req := b.request(http.MethodPost, "/", in)
			req.Trailer = http.Header{"X-End": nil}
			got := make(chan answer, 1)
			go func() { got <- do(client, req) }()
			_, _ = io.WriteString(out, "first ")
			eventually(t, "the request to be refused", func() bool { return count(b.activator.metrics.retried) > 0 })
			b.set(cluster, facts{}, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				_, _ = io.CopyN(w, r.Body, 6)
				_ = http.NewResponseController(w).Flush()
				_, _ = io.Copy(w, r.Body)
				_, _ = io.WriteString(w, r.Trailer.Get("X-End"))
			})))
			eventually(t, "the request to be taken", func() bool { return count(b.activator.metrics.dispatched) > 0 })
			_, _ = io.WriteString(out, "second ")
			_, _ = io.WriteString(out, strings.Repeat("x", 3*replay.Limit))
			req.Trailer.Set("X-End", "end")
			out.Close()
			await(t, got).want(t, 200, "first second "+strings.Repeat("x", 3*replay.Limit)+"end")
		})
	}
}

// TestAClientThatStillSendsGetsARefusal has no replica take the request, while the first still waits for more of the body.
func TestAClientThatStillSendsGetsARefusal(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, unsentAfter(t, 6))
			post := func(ctx context.Context) (<-chan answer, io.Closer) {
				in, out := io.Pipe()
				refused := count(b.activator.metrics.retried)
				got := make(chan answer, 1)
				go func() { got <- do(client, b.request(http.MethodPost, "/", in).WithContext(ctx)) }()
				_, _ = io.WriteString(out, "first ")
				eventually(t, "the request to be refused", func() bool { return count(b.activator.metrics.retried) > refused })
				return got, out
			}
			ctx, cancel := context.WithCancel(t.Context())
			got, out := post(ctx)
			cancel()
			out.Close() // net/http's client waits for that too
			if a := await(t, got); !errors.Is(a.err, context.Canceled) {
				t.Errorf("a client that went away got %v", a)
			}
			eventually(t, "the end of its request", func() bool { return b.activator.inFlight.Load() == 0 })
			got, out = post(t.Context())
			defer out.Close()
			b.set(cluster, facts{"failure": map[string]any{"reason": "Broken", "message": "cannot start"}})
			await(t, got).want(t, 503, "cannot start")
			eventually(t, "the end of its request", func() bool { return b.activator.inFlight.Load() == 0 })
		})
	}
}

func TestEarlyAnswerEndsAStream(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				w.Header().Set("Trailer", "X-Status")
				w.WriteHeader(http.StatusOK)
				w.Header().Set("X-Status", "early")
			})))
			in, out := io.Pipe()
			defer out.Close()
			got := make(chan answer, 1)
			go func() { got <- do(client, b.request(http.MethodPost, "/", in)) }()
			_, _ = io.WriteString(out, "and so on")
			a := await(t, got)
			if a.want(t, 200, ""); a.err == nil && a.Trailer.Get("X-Status") != "early" {
				t.Errorf("the trailers are %v", a.Trailer)
			}
		})
	}
}
