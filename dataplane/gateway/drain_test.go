package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/xds/resource"
)

// load sends requests from n connections. stop ends it and returns the number of requests and the failures.
func load(n int, address func() string, host string) (stop func() (int64, []string)) {
	var sent atomic.Int64
	var mu sync.Mutex
	var failures []string
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: waitLimit}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				// Go's client does not retry a POST, so a lost one shows.
				req, _ := http.NewRequest(http.MethodPost, "http://"+address()+"/", io.NopCloser(strings.NewReader("body")))
				req.Host = host
				res, err := client.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err == nil && res.StatusCode != 200 {
						err = fmt.Errorf("status %d %s", res.StatusCode, res.Header.Get("X-Envoy-Response-Flags"))
					}
				}
				if sent.Add(1); err != nil {
					mu.Lock()
					failures = append(failures, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []string) {
		cancel()
		wg.Wait()
		return sent.Load(), failures
	}
}

// 200 changes of every kind under the load of 16 connections: not one request may fail.
func TestChangesUnderLoadLoseNothing(t *testing.T) {
	b := start(t, Options{})
	const backends = 4
	addresses := make([]string, backends)
	for i := range addresses {
		addresses[i] = upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	}
	listenAt := func(address string, change int) *resource.Resource {
		m := newManager(t, "http")
		m.RequestHeadersTimeout = durationpb.New(time.Duration(10+change%7) * time.Second) // a new server on the same socket
		return res(t, gcpresource.ListenerType, "http", newListener(t, "http", address, m))
	}
	generation := func(i int) (string, []*resource.Resource) {
		name := fmt.Sprint("ns/rev-", i)
		return name, backend(t, name, addresses[i%backends], addresses[(i+1)%backends])
	}
	name, set := generation(0)
	b.push(all(one(listenAt("127.0.0.1:0", 0)), set, one(routes(t, vhost("h", "h.test", to(prefix("/"), name)))))...)
	b.get("http://h.test/").want(t, 200, "")
	stop := load(16, func() string { return b.address("http") }, "h.test")
	before := name
	for i := 1; i <= 200; i++ {
		name, set := generation(i)
		switch {
		case i%20 == 0: // another address: the old one drains
			b.push(listenAt(deadAddress(t), i))
		case i%4 == 0:
			b.push(listenAt(listening(b), i))
		case i%4 == 1: // another revision, and the old one is gone at once: make before break is the server's doing
			b.update(resource.Update{
				Set: append(set,
					routes(t, vhost("h", "h.test", to(prefix("/"), name)), vhost("other", fmt.Sprint(i, ".test"), to(prefix("/"), name)))),
				Removed: []*resource.Resource{raw(gcpresource.ClusterType, before, nil), raw(gcpresource.EndpointType, before, nil)},
			})
			before = name
		case i%4 == 2: // other endpoints
			b.push(endpoints(t, before, group(0, "pods", addresses[i/4%backends])))
		default: // other headers
			r := to(prefix("/"), before, func(a *routev3.RouteAction) { a.PrefixRewrite = fmt.Sprint("/", i, "/") })
			b.push(routes(t, vhost("h", "h.test", r)))
		}
	}
	sent, failures := stop()
	if len(failures) > 0 || b.refusals() > 0 {
		t.Errorf("%d of %d requests failed: %q (%d updates were refused)",
			len(failures), sent, failures[:min(5, len(failures))], b.refusals())
	}
	t.Logf("%d requests", sent)
}

// listening is the configured address of the listener "http".
func listening(b *bench) string {
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	return b.gateway.listeners["http"].serving.config().Address
}

func TestTheEndOfTheGatewayLosesNothing(t *testing.T) {
	b := start(t, Options{})
	entered, release := make(chan struct{}, 8), make(chan struct{})
	slow := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		fmt.Fprint(w, "done")
	})
	b.push(all(one(plain(t)), backend(t, "slow", slow), one(routes(t, vhost("h", "*", to(prefix("/"), "slow")))))...)
	answers := make(chan string, 8)
	url := "http://" + b.address("http")
	for _, client := range []*http.Client{noRedirects, h2cClient()} {
		go func() {
			res, err := client.Get(url)
			if err != nil {
				answers <- err.Error()
				return
			}
			body, _ := io.ReadAll(res.Body)
			answers <- string(body)
		}()
		<-entered
	}
	stopped := make(chan struct{})
	go func() { b.stop(); close(stopped) }()
	deadline := time.Now().Add(waitLimit)
	for {
		conn, err := net.Dial("tcp", b.address("http"))
		if err != nil {
			break // new connections are refused
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the gateway still accepts connections after its end was asked for")
		}
	}
	close(release)
	for range 2 {
		if got := <-answers; got != "done" {
			t.Errorf("a request in progress got %q", got)
		}
	}
	<-stopped
}

func TestTheDrainIsBounded(t *testing.T) {
	b := start(t, Options{Drain: 100 * time.Millisecond})
	entered := make(chan struct{}, 1)
	stuck := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	b.push(all(one(plain(t)), backend(t, "stuck", stuck), one(routes(t, vhost("h", "*", to(prefix("/"), "stuck")))))...)
	failed := make(chan error, 1)
	go func() {
		_, err := noRedirects.Get("http://" + b.address("http"))
		failed <- err
	}()
	<-entered
	b.stop() // which would not return, were it not bounded
	if err := <-failed; err == nil {
		t.Error("a request that never ends was answered")
	}
}

func TestARemovedListenerDrains(t *testing.T) {
	b := start(t, Options{})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	slow := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		fmt.Fprint(w, "done")
	})
	b.push(all(one(plain(t)), backend(t, "slow", slow), one(routes(t, vhost("h", "*", to(prefix("/"), "slow")))))...)
	answer := make(chan string, 1)
	go func() {
		res, err := noRedirects.Get("http://" + b.address("http"))
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(res.Body)
		answer <- fmt.Sprint(string(body), " ", res.Close)
	}()
	<-entered
	b.update(resource.Update{Removed: []*resource.Resource{plain(t)}})
	close(release)
	if got := <-answer; got != "done false" && got != "done true" {
		t.Errorf("a request in progress got %q", got)
	}
}

func TestAListenerWaitsForItsRoutes(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))))...)
	if got := b.page("/ready"); got != "503 INITIALIZING\n" {
		t.Errorf("/ready says %q before the routes have come", got)
	}
	answer := make(chan string, 1)
	go func() {
		res, err := noRedirects.Get("http://" + b.address("http"))
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- res.Status
	}()
	b.push(routes(t, vhost("h", "*", to(prefix("/"), "a"))))
	if got := <-answer; got != "200 OK" {
		t.Errorf("a request before the routes were there got %q", got)
	}
	if got := b.page("/ready"); got != "200 LIVE\n" {
		t.Errorf("/ready says %q", got)
	}
}

func TestAnAddressInUseIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	var reported atomic.Value
	b := start(t, Options{Failed: func(name, addr string, err error) { reported.Store(name + " " + addr) }})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), one(routes(t, vhost("h", "*", to(prefix("/"), "a")))))...)
	b.server.Apply(resource.Update{
		Set: one(res(t, gcpresource.ListenerType, "other", newListener(t, "other", taken, newManager(t, "http")))),
	})
	if got := b.refusal(0); !strings.Contains(got, `listener "other"`) || !strings.Contains(got, taken) ||
		!strings.Contains(got, "address already in use") {
		t.Errorf("the NACK says %q", got)
	}
	if reported.Load() != "other "+taken {
		t.Errorf("reported %v", reported.Load())
	}
	if got := b.page("/ready"); !strings.HasPrefix(got, "503") {
		t.Errorf("/ready says %q though a listener is not bound", got)
	}
	b.get("http://h/").want(t, 200, "a")
	b.server.Apply(resource.Update{
		Set: one(res(t, gcpresource.ListenerType, "http", newListener(t, "http", taken, newManager(t, "http")))),
	})
	b.refusal(1)
	b.get("http://h/").want(t, 200, "a")
}

// A gateway that drains may still have the address that its successor needs.
func TestAnAddressThatBecomesFreeIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), one(routes(t, vhost("h", "*", to(prefix("/"), "a")))))...)
	b.update(resource.Update{Set: one(res(t, gcpresource.ListenerType, "other", newListener(t, "other", taken, newManager(t, "http"))))})
	b.refusal(1) // the address was tried a second time
	_ = ln.Close()
	b.until("the address to be taken", func() bool { return b.bound["other"] == taken })
	b.get("http://h/").want(t, 200, "a")
	for deadline := time.Now().Add(waitLimit); !strings.HasPrefix(b.page("/ready"), "200"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("/ready says %q", b.page("/ready"))
		}
	}
}

func TestAWarmingVersionIsServedAtItsAddressThoughTheNextIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), one(routes(t, vhost("h", "*", to(prefix("/"), "a")))))...)
	version := func(address string) []*resource.Resource {
		return one(res(t, gcpresource.ListenerType, "http", newListener(t, "http", address, newManager(t, "late"))))
	}
	where := address.Free(t)
	b.push(version(where)...)
	b.server.Apply(resource.Update{Set: version(ln.Addr().String())})
	b.refusal(0)
	late := &routev3.RouteConfiguration{Name: "late", VirtualHosts: []*routev3.VirtualHost{vhost("h", "*", to(prefix("/"), "a"))}}
	b.server.Apply(resource.Update{Set: one(res(t, gcpresource.RouteType, "late", late))})
	if got := b.address("http"); got != where {
		t.Errorf("the newest address is %s, want %s", got, where)
	}
	b.get("http://h/").want(t, 200, "a")
}

// New limits make a new server. Open connections stay with the old one until it has drained.
func TestOpenConnectionsSurviveAChangeOfLimits(t *testing.T) {
	b := start(t, Options{Drain: waitLimit})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), one(routes(t, vhost("h", "*", to(prefix("/"), "a")))))...)
	conn, err := net.Dial("tcp", b.address("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	ask := func() string {
		t.Helper()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	if got := ask(); !strings.HasPrefix(got, "HTTP/1.1 200") || strings.Contains(got, "Connection: close") {
		t.Errorf("got %q", got)
	}
	b.push(plain(t, func(m *hcmv3.HttpConnectionManager) { m.MaxRequestHeadersKb = wrapperspb.UInt32(10) }))
	for last := false; !last; { // the old server hears of it beside the acknowledgement; until then it answers as before
		got := ask()
		if !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Fatalf("after the change got %q, want answers, and a last one with Connection: close", got)
		}
		last = strings.Contains(got, "Connection: close")
	}
}

// A request may have found its route just before its cluster was removed.
func TestARemovedClusterLingers(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "a", upstream(t, says("a"))), one(routes(t, vhost("h", "*", to(prefix("/"), "a")))))...)
	b.get("http://h/").want(t, 200, "a")
	b.update(resource.Update{
		Removed: []*resource.Resource{raw(gcpresource.ClusterType, "a", nil), raw(gcpresource.EndpointType, "a", nil)},
	})
	b.get("http://h/").want(t, 200, "a")
	if got := b.page("/clusters"); got != "200 " {
		t.Errorf("/clusters still shows %q", got)
	}
	for deadline := time.Now().Add(waitLimit); b.get("http://h/").StatusCode != http.StatusServiceUnavailable; {
		if time.Now().After(deadline) {
			t.Fatal("the removed cluster serves for ever")
		}
	}
}
