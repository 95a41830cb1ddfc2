package queueproxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// application serves HTTP/1.1 and h2c, as applications behind a queue-proxy may, and returns its host:port.
func application(t testing.TB, handler http.Handler) string {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = protocols
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serve starts a queue-proxy and returns it with its host:port.
func serve(t testing.TB, opts queueproxy.Options) (*queueproxy.Proxy, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := queueproxy.New(opts)
	served := make(chan error, 1)
	go func() { served <- p.Serve(listener) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return p, listener.Addr().String()
}

// client returns a client of HTTP/1.1 or h2c with connections of its own.
func client(t testing.TB, protocol model.Protocol) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 100}
	transport.Protocols.SetHTTP1(protocol != model.H2C)
	transport.Protocols.SetUnencryptedHTTP2(protocol == model.H2C)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

type answer struct {
	Status int
	Reason string
	Body   string
}

// get sends a request with header fields given as name, value, name, value…
func get(t testing.TB, c *http.Client, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("GET %s: reading the body: %v", url, err)
	}
	return answer{response.StatusCode, response.Header.Get(contract.ReasonHeader), strings.TrimSpace(string(body))}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func TestRequestsPassInBothProtocols(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, r.URL)
	}))
	for _, test := range []struct {
		app, client model.Protocol
		want        string
	}{
		{model.HTTP1, model.HTTP1, "HTTP/1.1"},
		{model.HTTP1, model.H2C, "HTTP/1.1"},
		{model.H2C, model.HTTP1, "HTTP/2.0"},
		{model.H2C, model.H2C, "HTTP/2.0"},
	} {
		t.Run(string(test.client+" to "+test.app), func(t *testing.T) {
			_, address := serve(t, queueproxy.Options{Target: target, Protocol: test.app})
			got := get(t, client(t, test.client), "http://"+address+"/a%2Fb?x=1;y")
			want := answer{200, "", test.want + " " + address + " /a%2Fb?x=1;y"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestForwardedIsMadeFromTheOlderHeaders(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s | %s", r.Header.Get("Forwarded"), r.Header.Get("X-Forwarded-For"))
	}))
	_, address := serve(t, queueproxy.Options{Target: target})
	for name, test := range map[string]struct {
		headers []string
		want    string
	}{
		"nothing to go by": {nil, "| 127.0.0.1"},
		"all three, IPv6 in quotes": {
			[]string{"X-Forwarded-For", "10.0.0.1, ::1", "X-Forwarded-Host", "h.example", "X-Forwarded-Proto", "https"},
			`for=10.0.0.1;host=h.example;proto=https, for="[::1]" | 10.0.0.1, ::1, 127.0.0.1`,
		},
		"host alone": {[]string{"X-Forwarded-Host", "h.example"}, "host=h.example | 127.0.0.1"},
		"one that is there stays": {
			[]string{"Forwarded", "for=a", "X-Forwarded-For", "b"}, "for=a | b, 127.0.0.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := get(t, client(t, model.HTTP1), "http://"+address, test.headers...); got.Body != test.want {
				t.Errorf("got  %s\nwant %s", got.Body, test.want)
			}
		})
	}
}

func TestConcurrencyLimitIsNeverExceeded(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			const limit = 3
			var running, most atomic.Int64
			target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				now := running.Add(1)
				defer running.Add(-1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				time.Sleep(2 * time.Millisecond)
			}))
			p, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol, Concurrency: limit})
			c := client(t, protocol)
			var all sync.WaitGroup
			for range 30 {
				all.Go(func() {
					for range 5 {
						if got := get(t, c, "http://"+address); got.Status != 200 {
							t.Errorf("got %v", got)
						}
					}
				})
			}
			all.Wait()
			if most.Load() != limit {
				t.Errorf("at most %d requests at a time, want exactly the limit of %d", most.Load(), limit)
			}
			eventually(t, "the load is counted", func() bool { return p.Load().InFlight == 0 })
			if l := p.Load(); l.Requests != 150 || l.Concurrency <= 0 || l.ProxiedRequests != 0 {
				t.Errorf("load %+v", l)
			}
		})
	}
}

func TestFullQueueAnswers503(t *testing.T) {
	finish := make(chan struct{})
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1})
	c := client(t, model.HTTP1)
	var all sync.WaitGroup
	for range 11 { // one runs, ten wait
		all.Go(func() {
			if got := get(t, c, "http://"+address, "K-Proxy-Request", "activator"); got.Status != 200 {
				t.Errorf("got %v", got)
			}
		})
	}
	eventually(t, "ten requests wait", func() bool { return p.Load().Waiting == 10 })
	got := get(t, c, "http://"+address)
	if diff := cmp.Diff(answer{503, contract.ReasonQueueFull, "pending request queue full"}, got); diff != "" {
		t.Error(diff)
	}
	close(finish)
	all.Wait()
	if l := p.Load(); l.ProxiedRequests != 11 || l.ProxiedConcurrency <= 0 || l.ProxiedConcurrency > l.Concurrency {
		t.Errorf("load %+v", l)
	}
}

// net/http says nothing of a client that has gone while the body of its request has not been read.
func TestRequestsWithABodyLeaveTheQueueWithTheirClients(t *testing.T) {
	finish := make(chan struct{})
	end := sync.OnceFunc(func() { close(finish) })
	defer end()
	var served atomic.Int64
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		served.Add(1)
		<-finish
	}))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1})
	c := client(t, model.HTTP1)
	var all sync.WaitGroup
	stays := func() {
		all.Go(func() {
			if got := get(t, c, "http://"+address); got.Status != 200 {
				t.Errorf("got %v", got)
			}
		})
	}
	stays()
	eventually(t, "the only place is taken", func() bool { return served.Load() == 1 })
	ctx, giveUp := context.WithCancel(t.Context())
	for range 10 {
		all.Go(func() {
			r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address, strings.NewReader("body"))
			if res, err := c.Do(r); err == nil {
				res.Body.Close()
				t.Errorf("got %v", res.Status)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return p.Load().Waiting == 10 })
	giveUp()
	eventually(t, "the queue is empty", func() bool { return p.Load().Waiting == 0 })
	stays()
	eventually(t, "another request waits", func() bool { return p.Load().Waiting == 1 })
	end()
	all.Wait()
	if n := served.Load(); n != 2 {
		t.Errorf("the application got %d requests, and 2 had a client", n)
	}
}

func TestClientThatGoesAwayLeavesTheQueue(t *testing.T) {
	finish := make(chan struct{})
	defer close(finish)
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
			if response, err := client(t, model.HTTP1).Do(r); err == nil {
				response.Body.Close()
				t.Error("answered though cancelled")
			}
		})
	}
	eventually(t, "one request waits", func() bool { return p.Load().Waiting == 1 })
	cancel()
	all.Wait()
	eventually(t, "nobody is left", func() bool { l := p.Load(); return l.Waiting == 0 && l.InFlight == 0 })
}

// What is internal to the platform means nothing from a client: its requests are all for the application, and all count.
func TestClientsCannotSpeakAsThePlatform(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "application %s", r.Host)
		for _, name := range contract.InternalHeaders {
			fmt.Fprint(w, r.Header[name])
		}
	}))
	signer := contract.NewSigner("secret")
	p, address := serve(t, queueproxy.Options{
		Target: target, ActivatorKey: signer.Key(), Ready: func(context.Context) error { return io.ErrUnexpectedEOF },
	})
	c := client(t, model.HTTP1)
	want := answer{200, "", "application " + address + strings.Repeat("[]", len(contract.InternalHeaders))}
	sent := 0
	for _, header := range [][]string{
		{"K-Proxy-Request", "activator"}, {"K-Proxy-Request", "activator "}, {"K-Proxy-Request", "activator other"},
		{"K-Proxy-Request", "secret"},
		{"K-Original-Host", "other.example"}, {"K-Network-Probe", "queue"}, {"K-Network-Probe", "probe", "K-Network-Hash", "abc"},
		{"K-Kubelet-Probe", "yes"}, {"Sluice-Slot", "leased"}, {"User-Agent", "kube-probe/1.37"}, {"User-Agent", "Knative-Activator-Probe"},
	} {
		sent++
		if diff := cmp.Diff(want, get(t, c, "http://"+address, header...)); diff != "" {
			t.Errorf("%v: %s", header, diff)
		}
	}
	if l := p.Load(); l.Requests != uint64(sent) || l.ProxiedRequests != 0 {
		t.Errorf("%d requests count as %+v", sent, l)
	}
	if diff := cmp.Diff(want, get(t, c, "http://"+address, "K-Proxy-Request", signer.ProxyProof("", ""))); diff != "" {
		t.Error(diff)
	}
	if l := p.Load(); l.ProxiedRequests != 1 {
		t.Errorf("an activator's request counts as %+v", l)
	}
}

func TestReadinessIsNotForClients(t *testing.T) {
	var ready atomic.Bool
	p, _ := serve(t, queueproxy.Options{Target: application(t, http.NotFoundHandler()), Ready: func(context.Context) error {
		if !ready.Load() {
			return io.ErrUnexpectedEOF
		}
		return nil
	}})
	if got := readiness(p); got != (answer{503, "", "the application is not ready: unexpected EOF"}) {
		t.Errorf("not ready: %v", got)
	}
	ready.Store(true)
	if got := readiness(p); got != (answer{200, "", "ok"}) {
		t.Errorf("ready: %v", got)
	}
	if p.Load().Requests != 0 {
		t.Error("asking was counted")
	}
}

// readiness is the answer to the platform's probe.
func readiness(p *queueproxy.Proxy) answer {
	w := httptest.NewRecorder()
	p.Readiness().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ready", nil))
	return answer{w.Code, w.Header().Get("Sluice-Reason"), strings.TrimSpace(w.Body.String())}
}
