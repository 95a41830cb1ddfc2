package xds_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// world is a random state: services that are added and removed, each a cluster with endpoints, and routes to some of them.
type world struct {
	random  *rand.Rand
	current map[[2]string]*resource.Resource // by type and name
}

// step is a random change that a control plane may make: no route names a missing cluster.
func (w *world) step() resource.Update {
	next := map[[2]string]*resource.Resource{}
	put := func(r *resource.Resource) { next[[2]string{r.Type, r.Name}] = r }
	for k, r := range w.current {
		if k[0] == resource.ClusterType || k[0] == resource.EndpointType {
			put(r)
		}
	}
	for range 1 + w.random.IntN(4) {
		name := fmt.Sprintf("ns/%d", w.random.IntN(12))
		switch w.random.IntN(6) {
		case 0, 1:
			delete(next, [2]string{resource.ClusterType, name})
			delete(next, [2]string{resource.EndpointType, name})
		case 2:
			put(cluster(name, fmt.Sprint(w.random.IntN(3))))
			put(endpoints(name, "0"))
		default:
			if next[[2]string{resource.ClusterType, name}] == nil {
				put(cluster(name, "0"))
			}
			put(endpoints(name, fmt.Sprint(w.random.IntN(100))))
		}
	}
	var clusters []string
	for k := range next {
		if k[0] == resource.ClusterType {
			clusters = append(clusters, k[1])
		}
	}
	slices.Sort(clusters)
	for _, name := range []string{"http", "local"} {
		put(listener(name, name+fmt.Sprint(w.random.IntN(2)), ""))
		for i := range 2 {
			some := slices.DeleteFunc(slices.Clone(clusters), func(string) bool { return w.random.IntN(3) == 0 })
			put(routes(name+fmt.Sprint(i), some...))
		}
	}
	var u resource.Update
	for k, r := range next {
		if old := w.current[k]; old == nil || old.Version != r.Version {
			u.Set = append(u.Set, r)
		}
	}
	for k, r := range w.current {
		if next[k] == nil {
			u.Removed = append(u.Removed, r)
		}
	}
	w.current = next
	return u
}

// proxy behaves like Envoy: it subscribes to all clusters and listeners, and to endpoints and routes by name as they become known, and
// acknowledges each response, now and then late. It fails when a route names a cluster that it does not have.
type proxy struct {
	t      *testing.T
	rig    *rig
	p      *protocol
	random *rand.Rand
	wire   transport
	asked  map[string]map[string]bool // by type and name
	mu     sync.Mutex
	has    map[string]map[string][]byte // by type and name
}

// run follows until ctx ends. Streams are cut at random.
func (x *proxy) run(ctx context.Context) {
	for ctx.Err() == nil && !x.t.Failed() {
		life, cancel := context.WithCancel(ctx)
		if x.random.IntN(2) == 0 {
			life, cancel = context.WithTimeout(ctx, time.Duration(x.random.IntN(200))*time.Millisecond)
		}
		x.connect(life)
		cancel()
	}
}

func (x *proxy) connect(ctx context.Context) {
	wire, err := x.p.open(ctx, x.rig.dial(x.t))
	if err != nil {
		return
	}
	x.wire = wire
	if err := x.greet(); err != nil {
		return
	}
	for {
		r, err := wire.receive()
		if err != nil {
			return
		}
		x.take(r)
		if x.random.IntN(8) == 0 {
			time.Sleep(time.Duration(x.random.IntN(3000)) * time.Microsecond) // a client at work
		}
		if wire.answer(r, "") != nil || x.ask() != nil {
			return
		}
	}
}

// greet sends the first requests of a stream.
func (x *proxy) greet() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	node := &corev3.Node{Id: x.p.name, Cluster: "gateway"}
	if x.p == sotw {
		// The protocol cannot say what the client has, so the server cannot keep the order across streams.
		x.has = map[string]map[string][]byte{}
	}
	x.asked = map[string]map[string]bool{}
	for _, typeURL := range four {
		if x.has[typeURL] == nil {
			x.has[typeURL] = map[string][]byte{}
		}
		x.asked[typeURL] = map[string]bool{}
	}
	if x.p == delta {
		return x.resume(node)
	}
	return errors.Join(x.wire.subscribe(node, resource.ClusterType), x.wire.subscribe(nil, resource.ListenerType))
}

// resume sends on a new stream what the client has from the last.
func (x *proxy) resume(node *corev3.Node) error {
	for _, typeURL := range four {
		names := []string{"*"}
		if typeURL == resource.EndpointType || typeURL == resource.RouteType {
			wanted := x.wanted(typeURL)
			names = slices.Sorted(maps.Keys(wanted))
			// The last stream may have been cut before the client unsubscribed from these.
			maps.DeleteFunc(x.has[typeURL], func(name string, _ []byte) bool { return !wanted[name] })
			if len(names) == 0 {
				continue
			}
		}
		x.asked[typeURL] = x.wanted(typeURL)
		versions := map[string]string{}
		for name, body := range x.has[typeURL] {
			versions[name] = versionOf(body)
		}
		if err := x.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: versions,
		}); err != nil {
			return err
		}
	}
	return nil
}

// wanted is the names that the clusters and listeners refer to.
func (x *proxy) wanted(typeURL string) map[string]bool {
	names := map[string]bool{}
	if typeURL == resource.EndpointType {
		for name := range x.has[resource.ClusterType] {
			names[name] = true
		}
	}
	if typeURL == resource.RouteType {
		for name, body := range x.has[resource.ListenerType] {
			for i := range 2 {
				if bytes.Equal(body, listener(name, name+fmt.Sprint(i), "").Body) {
					names[name+fmt.Sprint(i)] = true
				}
			}
		}
	}
	return names
}

// ask changes the subscriptions by name to the wanted ones.
func (x *proxy) ask() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, typeURL := range []string{resource.EndpointType, resource.RouteType} {
		wanted, asked := x.wanted(typeURL), x.asked[typeURL]
		var more, less []string
		for name := range wanted {
			if !asked[name] {
				more = append(more, name)
			}
		}
		for name := range asked {
			if !wanted[name] {
				less = append(less, name)
				delete(x.has[typeURL], name)
			}
		}
		x.asked[typeURL] = wanted
		if len(less) > 0 {
			if err := x.wire.unsubscribe(typeURL, less...); err != nil {
				return err
			}
		}
		if len(more) > 0 {
			if err := x.wire.subscribe(nil, typeURL, more...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *proxy) take(r reply) {
	x.mu.Lock()
	defer x.mu.Unlock()
	has := x.has[r.Type]
	if x.p == sotw && (r.Type == resource.ClusterType || r.Type == resource.ListenerType) {
		clear(has)
	}
	for name, body := range r.Set {
		if byName := r.Type == resource.EndpointType || r.Type == resource.RouteType; !byName || x.asked[r.Type][name] {
			has[name] = body
		}
	}
	for _, name := range r.Removed {
		delete(has, name)
	}
	for name := range x.wanted(resource.RouteType) {
		for _, c := range clustersOf(x.has[resource.RouteType][name]) {
			if x.has[resource.ClusterType][c] == nil {
				x.t.Errorf("%s: after %s with %v (removed %v) the route %q names cluster %q, which is not there",
					x.p.name, r.short(), r.names(), r.Removed, name, c)
			}
		}
	}
}

func TestChaosConvergesAndNoRouteNamesAMissingCluster(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			chaos(t, seed)
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	r := serve(t, xds.Options{Wait: patience})
	w := &world{random: rand.New(rand.NewPCG(seed, 0)), current: map[[2]string]*resource.Resource{}}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var proxies []*proxy
	for i := range 4 {
		x := &proxy{t: t, rig: r, p: []*protocol{delta, sotw}[i%2], random: rand.New(rand.NewPCG(seed, uint64(i+1))),
			has: map[string]map[string][]byte{}}
		proxies = append(proxies, x)
		running.Go(func() { x.run(ctx) })
	}
	for range 400 {
		r.Apply(w.step())
		if w.random.IntN(3) == 0 {
			time.Sleep(time.Duration(w.random.IntN(4000)) * time.Microsecond) // clients see some states and not others
		}
	}
	for _, x := range proxies {
		eventually(t, "a client comes to the newest state", func() bool { return x.converged(w) })
	}
}

// converged is whether the client has what it subscribes to of the world, and nothing else.
func (x *proxy) converged(w *world) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, typeURL := range four {
		want := map[string][]byte{}
		for k, r := range w.current {
			byName := typeURL == resource.EndpointType || typeURL == resource.RouteType
			if k[0] == typeURL && (!byName || x.wanted(typeURL)[k[1]]) {
				want[k[1]] = r.Body
			}
		}
		if !maps.EqualFunc(want, x.has[typeURL], bytes.Equal) {
			return false
		}
	}
	return true
}
