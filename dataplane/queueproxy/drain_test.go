package queueproxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

var shuttingDown = answer{503, contract.ReasonShuttingDown, "shutting down"}

func TestDrainServesUntilItIsQuiet(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(20 * time.Millisecond) }))
			p, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol, Quiet: 300 * time.Millisecond})
			c := client(t, protocol)
			get(t, c, "http://"+address)
			ended := make(chan error, 1)
			go func() { ended <- p.Shutdown(t.Context()) }()
			eventually(t, "probes are refused", func() bool {
				return cmp.Equal(shuttingDown, readiness(p))
			})
			for range 30 { // longer than the quiet period altogether
				if got := get(t, c, "http://"+address); got.Status != 200 {
					t.Fatalf("during the drain: %v", got)
				}
			}
			select {
			case err := <-ended:
				t.Fatalf("ended under load: %v", err)
			default:
			}
			if err := <-ended; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Error("still listening")
			}
		})
	}
}

// TestDrainLosesNoRequest: clients keep sending until they see that the replica has left, as a gateway does.
func TestDrainLosesNoRequest(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Millisecond) }))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 4, Quiet: 200 * time.Millisecond})
	var left atomic.Bool
	results := make(chan int)
	for range 8 {
		go func() {
			c, n := client(t, model.HTTP1), 0
			for ; !left.Load(); n++ {
				if got := get(t, c, "http://"+address); got.Status != 200 {
					t.Errorf("got %v", got)
					break
				}
			}
			results <- n
		}()
	}
	eventually(t, "there is load", func() bool { return p.Load().Requests > 200 })
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }()
	before := p.Load().Requests
	eventually(t, "load goes on", func() bool { return p.Load().Requests > before+200 })
	left.Store(true)
	sum := 0
	for range 8 {
		sum += <-results
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := p.Load().Requests; got != uint64(sum) {
		t.Errorf("%d requests were answered, %d were sent", got, sum)
	}
}

// TestRetiredProxyLosesNoRequestThatComesTooLate: the drain has no quiet period, so that it ends in the midst of requests.
func TestRetiredProxyLosesNoRequestThatComesTooLate(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		var served, turnedAway atomic.Int64
		for range 30 {
			var ended atomic.Bool
			target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				if ended.Load() {
					t.Error("the application got a request after it might end")
				}
			}))
			p, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol, Quiet: time.Nanosecond})
			var group sync.WaitGroup
			c := client(t, protocol)
			for range 8 {
				group.Go(func() {
					for last := false; !last; time.Sleep(100 * time.Microsecond) {
						last = ended.Load() // the last one is sent when all is over
						// A body that cannot be had again: what was lost on the way could not be sent again by the client itself.
						response, err := c.Post("http://"+address, "text/plain", struct{ io.Reader }{strings.NewReader("ping")})
						if err != nil {
							t.Error(err)
							return
						}
						response.Body.Close()
						switch {
						case response.StatusCode == http.StatusOK:
							served.Add(1)
						case response.Header.Get(contract.ReasonHeader) == contract.ReasonUnsent:
							turnedAway.Add(1)
						default:
							t.Errorf("status %d", response.StatusCode)
						}
					}
				})
			}
			eventually(t, "there is load", func() bool { return p.Load().Requests > 4 })
			if err := p.Retire(t.Context()); err != nil {
				t.Error(err)
			}
			ended.Store(true)
			group.Wait()
		}
		if served.Load() == 0 || turnedAway.Load() == 0 {
			t.Errorf("%s: %d requests were served and %d turned away", protocol, served.Load(), turnedAway.Load())
		}
	}
}

func TestRetirementIsBounded(t *testing.T) {
	target := application(t, http.HandlerFunc(hanging))
	p, address := serve(t, queueproxy.Options{Target: target})
	pending := make(chan answer, 1)
	go func() { pending <- get(t, client(t, model.HTTP1), "http://"+address) }()
	eventually(t, "it is in flight", func() bool { return p.Load().InFlight == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Retire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Retire: %v", err)
	}
	if got := <-pending; got != shuttingDown {
		t.Errorf("got %v", got)
	}
}

func TestDrainIsBounded(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echoWebSocket(w, r)
			return
		}
		hanging(w, r)
	}))
	p, address := serve(t, queueproxy.Options{Target: target})
	pending := make(chan answer, 1)
	go func() { pending <- get(t, client(t, model.HTTP1), "http://"+address) }()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	eventually(t, "both are in flight", func() bool { return p.Load().InFlight == 2 })

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if got := <-pending; got != shuttingDown {
		t.Errorf("got %v", got)
	}
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("the WebSocket is still open")
	}
	eventually(t, "nothing is in flight", func() bool { return p.Load().InFlight == 0 })
}

func TestDrainWaitsForUpgradedConnections(t *testing.T) {
	target := application(t, http.HandlerFunc(echoWebSocket))
	p, address := serve(t, queueproxy.Options{Target: target, Quiet: 20 * time.Millisecond})
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }()
	select {
	case err := <-ended:
		t.Fatalf("ended with an open WebSocket: %v", err)
	case <-time.After(200 * time.Millisecond): // ten quiet periods
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
