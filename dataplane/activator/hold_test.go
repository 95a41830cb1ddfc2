package activator

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
	"sluice.dev/sluice/dataplane/queueproxy"
)

func TestRequestsWaitForTheFirstEndpointAndAllAreServed(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, facts{"concurrency": 10.0})
	var answers []<-chan answer
	for range 100 {
		answers = append(answers, b.later(b.request(http.MethodPost, "/", strings.NewReader("ping"))))
	}
	b.waiting(100)
	b.known()
	b.set(cluster, facts{"concurrency": 10.0},
		replicaOf(t, queueproxy.Options{Concurrency: 10}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}))
	for _, a := range answers {
		await(t, a).want(t, 200, "ping")
	}
	m := b.activator.metrics
	if starts, dispatched := count(m.coldStarts), count(m.dispatched); starts != 100 || dispatched != 100 {
		t.Errorf("counted %d cold starts and %d dispatched", starts, dispatched)
	}
	if n := observed(t, m.coldStart); n != 100 {
		t.Errorf("the histogram has %d cold starts", n)
	}
}

func TestNoReplicaEverHasTwoAndNoneIsIdleWhileRequestsWait(t *testing.T) {
	b := start(t, Options{})
	var most atomic.Int64
	var addresses []string
	for range 4 {
		var inside atomic.Int64
		addresses = append(addresses, replicaOf(t, queueproxy.Options{}, func(http.ResponseWriter, *http.Request) {
			n := inside.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
		}))
	}
	b.set(cluster, facts{"concurrency": 1.0}, addresses...)
	b.get().want(t, 200, "")
	d := b.activator.revisions.find(cluster)
	stop := make(chan struct{})
	var watcher, clients sync.WaitGroup
	idle := 0
	watcher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if s := d.Status(); s.Waiting > 0 && s.Room {
				idle++
			}
			time.Sleep(50 * time.Microsecond)
		}
	})
	for range 64 {
		clients.Go(func() {
			for range 30 {
				b.get().want(t, 200, "")
			}
		})
	}
	clients.Wait()
	close(stop)
	watcher.Wait()
	if most.Load() != 1 || idle != 0 {
		t.Errorf("a replica had %d requests at a time; %d times a replica was idle while a request waited", most.Load(), idle)
	}
}

func TestCancelledRequestLeavesTheQueueAtOnce(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil)
	ctx, cancel := context.WithCancel(context.Background())
	gone := b.later(b.request(http.MethodGet, "/", nil).WithContext(ctx))
	b.waiting(1)
	stays := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(2)
	cancel()
	b.waiting(1)
	if a := await(t, gone); !errors.Is(a.err, context.Canceled) {
		t.Errorf("got %v", a)
	}
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	await(t, stays).want(t, 200, "hello")
}

// net/http says nothing of a client that has gone while the body of its request has not been read.
func TestRequestWithABodyLeavesTheQueueWithItsClient(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil)
	ctx, cancel := context.WithCancel(context.Background())
	gone := b.later(b.request(http.MethodPost, "/", strings.NewReader("gone")).WithContext(ctx))
	b.waiting(1)
	stays := b.later(b.request(http.MethodPost, "/", strings.NewReader("stays")))
	b.waiting(2)
	cancel()
	b.waiting(1)
	if a := await(t, gone); !errors.Is(a.err, context.Canceled) {
		t.Errorf("got %v", a)
	}
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	await(t, stays).want(t, 200, "stays")
}

func TestRequestForAnUnknownRevisionIsHeldAndThenRefused(t *testing.T) {
	b := start(t, Options{})
	began := time.Now()
	a := b.get()
	a.want(t, 404, "no such revision")
	if waited := time.Since(began); waited < dispatch.UnknownPatience ||
		a.Header.Get(contract.ReasonHeader) != contract.ReasonUnknownRevision {
		t.Errorf("refused after %v: %v", waited, a)
	}
	late := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.set(cluster, nil, addressOf(plain(t, says("appeared"))))
	await(t, late).want(t, 200, "appeared")
	b.removeAssignment(cluster)
	eventually(t, "the removal", func() bool { return b.activator.revisions.find(cluster).Status().Missing })
	b.get().want(t, 404, "no such revision")
}

func TestTimeoutBoundsTheTimeToTheResponse(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, facts{"timeout": 0.2})
	a := b.get()
	a.want(t, 504, "activator request timeout")
	if a.Header.Get(contract.ReasonHeader) != contract.ReasonRequestTimeout {
		t.Errorf("got %v", a)
	}
	release := make(chan struct{})
	s := plain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "begun ")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "and ended")
	})
	b.set(cluster, facts{"timeout": 0.2}, addressOf(s))
	do(b.client, b.request(http.MethodGet, "/stuck", nil)).want(t, 504, "activator request timeout")
	const roomy = 2 * time.Second // the response must begin within it
	b.set(cluster, facts{"timeout": roomy.Seconds()}, addressOf(s))
	eventually(t, "the longer timeout", func() bool {
		return b.activator.revisions.find(cluster).Status().Timeout == roomy
	})
	slow := b.later(b.request(http.MethodPost, "/slow", strings.NewReader("x")))
	eventually(t, "the response has begun", func() bool {
		return count(b.activator.metrics.dispatched) == 1
	})
	time.AfterFunc(roomy+roomy/4, func() { close(release) }) // it may go on for longer than the timeout
	await(t, slow).want(t, 200, "begun and ended")
}

func TestFullQueueRefuses(t *testing.T) {
	b := start(t, Options{Limits: Limits{Waiting: 2}})
	b.set(cluster, nil)
	one, two := b.later(b.request(http.MethodGet, "/", nil)), b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(2)
	a := b.get()
	a.want(t, 503, "too many requests")
	if a.Header.Get(contract.ReasonHeader) != contract.ReasonQueueFull || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", a)
	}
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	await(t, one).want(t, 200, "hello")
	await(t, two).want(t, 200, "hello")
}

func TestFailureEndsWaitingRequestsAndHoldsNewOnesShortly(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil)
	waits := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.known()
	failing := facts{"failure": map[string]any{"reason": "ExitCode1", "message": "the process exited with 1"}}
	b.set(cluster, failing)
	a := await(t, waits)
	a.want(t, 503, "ExitCode1: the process exited with 1")
	if a.Header.Get(contract.ReasonHeader) != contract.ReasonRevisionFailed || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", a)
	}
	b.until("a report of nothing in progress", func() bool { return len(b.loads) > 0 && b.loads[len(b.loads)-1].InProgress == 0 })
	b.mu.Lock()
	b.loads = nil
	b.mu.Unlock()
	began := time.Now()
	late := b.later(b.request(http.MethodGet, "/", nil))
	b.until("a report of the waiting request", func() bool { return len(b.loads) > 0 && b.loads[len(b.loads)-1].Waiting == 1 })
	await(t, late).want(t, 503, "ExitCode1")
	if waited := time.Since(began); waited < dispatch.FailedPatience {
		t.Errorf("a new request was refused after %v", waited)
	}
	lucky := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	b.set(cluster, nil, addressOf(plain(t, says("mended"))))
	await(t, lucky).want(t, 200, "mended")
}

func TestRefusedConnectionIsRetriedElsewhereAndThenAgain(t *testing.T) {
	b := start(t, Options{})
	dead, ln := listener(t), listener(t)
	if dead.Addr().String() > ln.Addr().String() {
		dead, ln = ln, dead // the dead one is the first in order
	}
	address := dead.Addr().String()
	dead.Close()
	live := &http.Server{Handler: says("live")}
	go func() { _ = live.Serve(ln) }() // until Close
	t.Cleanup(func() { live.Close() })
	b.set(cluster, facts{"concurrency": 1.0}, address, ln.Addr().String())
	for range 20 {
		do(b.client, b.request(http.MethodPost, "/", strings.NewReader("x"))).want(t, 200, "live")
	}
	if n := count(b.activator.metrics.retried); n == 0 || n > 20 {
		t.Errorf("%d attempts at the dead replica", n)
	}

	// With the only replica refusing, requests wait until it does not.
	b.set(cluster, facts{"concurrency": 10.0}, address)
	eventually(t, "the assignment", func() bool { return len(b.activator.revisions.find(cluster).Replicas()) == 1 })
	before := count(b.activator.metrics.retried)
	var answers []<-chan answer
	for range 10 {
		answers = append(answers, b.later(b.request(http.MethodGet, "/", nil)))
	}
	eventually(t, "some attempts", func() bool { return count(b.activator.metrics.retried) > before+5 })
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: says("back")}
	go func() { _ = server.Serve(again) }() // until Close
	t.Cleanup(func() { server.Close() })
	for _, a := range answers {
		await(t, a).want(t, 200, "back")
	}
	if n := count(b.activator.metrics.retried) - before; n > 40 {
		t.Errorf("%d attempts for 10 requests", n)
	}
}

func TestRequestThatMayHaveBeenReceivedIsNotRetried(t *testing.T) {
	b := start(t, Options{})
	var received atomic.Int64
	hangUp := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		received.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	b.set(cluster, nil, addressOf(plain(t, hangUp)), addressOf(plain(t, hangUp)))
	for range 4 {
		b.get().want(t, 200, "") // so that the connections are used ones
	}
	a := do(b.client, b.request(http.MethodGet, "/hang-up", nil))
	a.want(t, 502, "did not answer")
	if received.Load() != 1 {
		t.Errorf("the request was sent %d times", received.Load())
	}
}

func TestIdleConnectionThatTheReplicaClosedFailsNoRequest(t *testing.T) {
	b := start(t, Options{})
	s := plain(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	b.set(cluster, nil, addressOf(s))
	for range 50 {
		do(b.client, b.request(http.MethodPost, "/", strings.NewReader("body"))).want(t, 200, "body")
		s.CloseClientConnections()
	}
}

func TestRequestsInFlightFinishWhenTheirReplicaGoes(t *testing.T) {
	b := start(t, Options{})
	inside, release := make(chan struct{}), make(chan struct{})
	s := plain(t, func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	b.set(cluster, facts{"concurrency": 1.0}, addressOf(s))
	first := b.later(b.request(http.MethodGet, "/", nil))
	<-inside
	b.set(cluster, facts{"concurrency": 1.0})
	second := b.later(b.request(http.MethodGet, "/", nil))
	b.waiting(1)
	// The address comes back with its request still counted, so the second one goes on waiting.
	b.set(cluster, facts{"concurrency": 1.0}, addressOf(s))
	eventually(t, "the replica's return", func() bool {
		return b.activator.revisions.find(cluster).Status().Endpoints == 1
	})
	b.waiting(1)
	release <- struct{}{}
	await(t, first).want(t, 200, "finished")
	<-inside
	release <- struct{}{}
	await(t, second).want(t, 200, "finished")
}

// Chaos: endpoints come and go under load, in the order in which Sluice lets them: out of the assignment first, ended after
// their requests.
func TestChangingEndpointsFailNoRequest(t *testing.T) {
	for _, concurrency := range []float64{0, 1, 10} {
		b := start(t, Options{})
		random := rand.New(rand.NewPCG(1, uint64(concurrency)))
		b.set(cluster, facts{"concurrency": concurrency})
		stop := make(chan struct{})
		var clients sync.WaitGroup
		var served atomic.Int64
		for range 32 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					a := do(b.client, b.request(http.MethodPost, "/", strings.NewReader("ping")))
					if served.Add(1); a.err != nil || a.StatusCode != 200 || a.body != "ping" {
						t.Errorf("got %v", a)
						return
					}
				}
			})
		}
		type running struct {
			address string
			end     func()
		}
		var all []running
		addresses := func() (out []string) {
			for _, r := range all {
				out = append(out, r.address)
			}
			return out
		}
		var ending sync.WaitGroup
		for range 40 {
			if len(all) == 0 || len(all) < 6 && random.IntN(2) == 0 {
				inner := plain(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
				p := queueproxy.New(queueproxy.Options{
					Target: addressOf(inner), Concurrency: int(concurrency), Quiet: 500 * time.Millisecond,
				})
				ln := listener(t)
				go func() { _ = p.Serve(ln) }() // until Shutdown or Close
				t.Cleanup(p.Close)
				all = append(all, running{ln.Addr().String(), func() {
					if err := p.Shutdown(t.Context()); err != nil {
						t.Errorf("draining: %v", err)
					}
				}})
				b.set(cluster, facts{"concurrency": concurrency}, addresses()...)
			} else {
				i := random.IntN(len(all))
				leaving := all[i]
				all = append(all[:i:i], all[i+1:]...)
				seq := b.raw(assigned(b, cluster, facts{"concurrency": concurrency}, addresses()...))
				b.until("the removal", func() bool { return b.applied >= seq })
				ending.Go(leaving.end)
			}
			time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
		}
		if len(all) == 0 {
			b.set(cluster, facts{"concurrency": concurrency}, addressOf(plain(t,
				func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
		}
		close(stop)
		clients.Wait()
		ending.Wait()
		b.stop()
		t.Logf("concurrency %v: %d requests", concurrency, served.Load())
	}
}

func TestOnlyRequestsInsideAKilledReplicaFail(t *testing.T) {
	b := start(t, Options{})
	var inside sync.Map
	app := func(victim bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if victim {
				inside.Store(r.Header.Get("X-Id"), true)
			}
			time.Sleep(time.Millisecond)
			_, _ = io.WriteString(w, "done")
			if victim {
				inside.Delete(r.Header.Get("X-Id"))
			}
		}
	}
	victim, other := plain(t, app(true)), plain(t, app(false))
	b.set(cluster, facts{"concurrency": 8.0}, addressOf(victim), addressOf(other))
	b.get().want(t, 200, "done")
	var clients sync.WaitGroup
	var failed sync.Map
	for i := range 16 {
		clients.Go(func() {
			for n := range 200 {
				id := http.Header{"X-Id": {string(rune('a'+i)) + "-" + time.Duration(n).String()}}
				req := b.request(http.MethodGet, "/", nil, "X-Id", id.Get("X-Id"))
				if a := do(b.client, req); a.err != nil || a.StatusCode != 200 {
					failed.Store(id.Get("X-Id"), a)
				}
			}
		})
	}
	eventually(t, "some load", func() bool { return count(b.activator.metrics.dispatched) > 500 })
	victim.Listener.Close()
	victim.CloseClientConnections() // the replica is gone from one moment to the next, and still in the assignment
	clients.Wait()
	n := 0
	failed.Range(func(_, _ any) bool { n++; return true })
	if n > 8 {
		t.Errorf("%d requests failed, 8 can have been inside", n)
		failed.Range(func(id, a any) bool { t.Log(id, a); return true })
	}
}
