package feature

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// points is a revision with real parts around it and no autoscaler, so that the test sets whether requests go through the activator.
type points struct {
	t       testing.TB
	control *controlplane.Loop
	xds     *xds.Server
	target  string // of the xDS server
	gateway string // address
	world   model.World
	reached chan uint64 // generations that every client has acknowledged

	mu      sync.Mutex
	proxied int // requests that reached a replica through the activator
	direct  int
}

// newPoints starts a control plane, a gateway, an activator, and replicas that work so long on a request.
func newPoints(t testing.TB, g gateway, replicas int, service time.Duration) *points {
	p := &points{t: t, gateway: address.Free(t), reached: make(chan uint64, 1024)}
	key := model.Key{Namespace: "default", Name: "moving-00001"}
	backend := &model.Backend{Revision: key, Protocol: model.HTTP1, Via: model.ViaReplicas, Concurrency: 10}
	for range replicas {
		backend.Endpoints = append(backend.Endpoints, p.replica(service))
	}
	slices.SortFunc(backend.Endpoints, func(a, b model.Endpoint) int { return a.Port - b.Port })
	p.world = model.World{
		Gateway:  model.Gateway{HTTP: p.gateway},
		Backends: []*model.Backend{backend},
		Routes: []*model.Route{{Key: model.Key{Namespace: "default", Name: "moving"}, Rules: []model.Rule{{
			Hosts: []string{"moving.default.localhost"}, Shares: []model.Share{{Revision: key, Percent: 100}},
		}}}},
	}
	p.controlPlane()
	p.dataPlane(g)
	p.offer()
	eventually(t, "the gateway serves", func() error {
		return p.request(&http.Client{Timeout: patience})
	})
	return p
}

// replica is an application with its queue-proxy.
func (p *points) replica(service time.Duration) model.Endpoint {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(service)
		_, _ = io.WriteString(w, "ok") // the client counts failures
	}))
	p.t.Cleanup(app.Close)
	proxy := queueproxy.New(queueproxy.Options{Target: strings.TrimPrefix(app.URL, "http://"), Concurrency: 10})
	count := http.NewServeMux()
	count.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		if strings.HasPrefix(r.Header.Get("K-Proxy-Request"), "activator") {
			p.proxied++
		} else {
			p.direct++
		}
		p.mu.Unlock()
		proxy.ServeHTTP(w, r)
	})
	front := httptest.NewServer(count)
	p.t.Cleanup(func() { front.Close(); proxy.Close() })
	return endpoint(p.t, strings.TrimPrefix(front.URL, "http://"))
}

func endpoint(t testing.TB, address string) model.Endpoint {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return model.Endpoint{Host: a.Addr().String(), Port: int(a.Port())}
}

func (p *points) controlPlane() {
	p.xds = xds.New(xds.Options{Progress: func(progress resource.Progress) { p.control.Acknowledge(progress) }})
	p.control = controlplane.New(controlplane.Options{
		Logger: hclog.NewNullLogger(), Publish: p.xds.Apply,
		Problems: func(found []model.Problem) {
			if len(found) > 0 {
				p.t.Errorf("problems: %+v", found)
			}
		},
		Programmed: func(uint64) {},
		Reached:    func(generation uint64) { p.reached <- generation },
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.target = listener.Addr().String()
	server := grpc.NewServer(xds.ServerOptions()...)
	p.xds.Register(server)
	p.goes(func(ctx context.Context) error { p.control.Run(ctx); return nil })
	p.goes(func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { p.xds.Close(); server.Stop() })
		defer stop()
		return server.Serve(listener)
	})
}

func (p *points) dataPlane(g gateway) {
	held, err := activator.New(activator.Options{
		XDS: p.target, NodeID: "activator", Listen: "127.0.0.1:0", Drain: time.Second, Quiet: time.Millisecond,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.world.Activators = []model.Endpoint{endpoint(p.t, held.Address())}
	p.goes(held.Run)
	g.beside(p.t, p.target)
}

// goes runs a part until the test ends.
func (p *points) goes(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
}

// offer publishes the next World and waits until every client has acknowledged it.
func (p *points) offer() {
	p.t.Helper()
	p.world.Generation++
	world := p.world
	p.control.Offer(&world)
	for late := time.After(patience); ; {
		select {
		case generation := <-p.reached:
			if generation >= world.Generation {
				return
			}
		case <-late:
			p.t.Fatalf("generation %d was not acknowledged within %v", world.Generation, patience)
		}
	}
}

// move switches between activator and direct.
func (p *points) move() {
	p.t.Helper()
	backend := *p.world.Backends[0]
	if backend.Via == model.ViaReplicas {
		backend.Via = model.ViaActivator
	} else {
		backend.Via = model.ViaReplicas
	}
	p.world.Backends = []*model.Backend{&backend}
	p.offer()
}

func (p *points) request(client *http.Client) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.gateway+"/", nil)
	if err != nil {
		return err
	}
	request.Host = "moving.default.localhost"
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, %w: %s", response.StatusCode, err, body)
	}
	return nil
}

// stream is a load at a fixed rate, independent of responses.
type stream struct {
	mu     sync.Mutex
	sent   []time.Time
	ended  []time.Time
	took   []time.Duration // of answered requests, in the order of sent and ended
	failed []error
}

// stream sends so many requests a second while during runs, and waits for the last responses.
func (p *points) stream(rate int, during func()) *stream {
	out := &stream{}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	over := make(chan struct{})
	go func() {
		defer close(over)
		during()
	}()
	var requests sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			requests.Go(func() { out.one(p, client) })
		case <-over:
			requests.Wait()
			return out
		}
	}
}

func (l *stream) one(p *points, client *http.Client) {
	sent := time.Now()
	err := p.request(client)
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.sent, l.ended, l.took = append(l.sent, sent), append(l.ended, ended), append(l.took, ended.Sub(sent))
}

// dip compares the numbers of answered and sent requests in windows of a tenth of a second. It returns the share of missing responses in
// all windows that have too few, and in the worst one. A late response is missing in one window and surplus in the next.
func (l *stream) dip() (whole, worst float64) {
	sent, ended := map[int64]int{}, map[int64]int{}
	for i := range l.sent {
		sent[l.sent[i].UnixMilli()/100]++
		ended[l.ended[i].UnixMilli()/100]++
	}
	windows := make([]int64, 0, len(sent))
	for w := range sent {
		windows = append(windows, w)
	}
	slices.Sort(windows)
	offered, missing := 0, 0
	for _, w := range windows[1:max(1, len(windows)-1)] { // the first and the last are not complete
		offered += sent[w]
		if less := sent[w] - ended[w]; less > 0 {
			missing += less
			worst = max(worst, float64(less)/float64(sent[w]))
		}
	}
	return float64(missing) / float64(max(1, offered)), worst
}

const switches = 100

// moveOften moves the revision back and forth, each time after every client has acknowledged the move before.
func (p *points) moveOften() {
	for range switches {
		p.move()
		time.Sleep(40 * time.Millisecond) // between two moves
	}
}

func TestNoRequestFailsWhileARevisionMovesBetweenActivatorAndDirect(t *testing.T) {
	onEachGateway(t, noRequestFailsWhileARevisionMovesBetweenActivatorAndDirect)
}

func noRequestFailsWhileARevisionMovesBetweenActivatorAndDirect(t *testing.T, g gateway) {
	p := newPoints(t, g, 3, 5*time.Millisecond)
	l := p.stream(500, p.moveOften)
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(l.failed), len(l.took)+len(l.failed), l.failed[0])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxied < len(l.took)/10 || p.direct < len(l.took)/10 {
		t.Errorf("of %d requests %d came through the activator and %d directly: the moves had no effect", len(l.took), p.proxied, p.direct)
	}
	t.Logf("%d requests while the revision moved %d times, %d through the activator", len(l.took), switches, p.proxied)
}

// BenchmarkSwitch measures 500 requests a second during 100 moves between activator and direct, and without moves: how long they take,
// and how many responses are missing in tenths of a second that have fewer responses than requests.
func BenchmarkSwitch(b *testing.B) {
	p := newPoints(b, builtin, 3, 5*time.Millisecond)
	steady := func() { time.Sleep(2500 * time.Millisecond) } // how long the load lasts
	for b.Loop() {
		for _, phase := range []struct {
			name string
			run  func()
		}{{"direct", steady}, {"moving", p.moveOften}, {"activator", func() { p.move(); steady() }}} {
			l := p.stream(500, phase.run)
			if len(l.failed) > 0 {
				b.Errorf("%d requests failed, the first: %v", len(l.failed), l.failed[0])
			}
			whole, worst := l.dip()
			b.ReportMetric(100*whole, phase.name+"-dip-%")
			b.ReportMetric(100*worst, phase.name+"-worst-%")
			percentiles(b, phase.name, l.took)
		}
		p.move()
	}
}
