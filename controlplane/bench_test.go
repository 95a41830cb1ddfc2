package controlplane_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// fleetSize is how many clients subscribe to everything in the benchmarks.
const fleetSize = 100

// driver offers one World after another, each with a change, and times them.
type driver struct {
	*harness
	services int // set once

	mu         sync.Mutex
	world      *model.World  // guarded by mu, as is the rest
	generation uint64        // of world
	passed     uint64        // generation that every client has acknowledged
	moved      chan struct{} // closed when passed has changed
}

// newDriver begins with n services.
func newDriver(t testing.TB, n int) *driver {
	t.Helper()
	m := &driver{services: n, moved: make(chan struct{})}
	m.harness = newHarnessThat(t, func(generation uint64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.passed = generation
		close(m.moved)
		m.moved = make(chan struct{})
	})
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("s%05d", i)
	}
	m.offer(func(*model.World) *model.World {
		w := world(0, names...)
		w.Gateway.Local = "127.0.0.1:8081"
		for i, b := range w.Backends {
			b.Endpoints = []model.Endpoint{{Host: "10.0.0.1", Port: 1 + i}}
		}
		return w
	})
	m.harness.eventually("the first World is published", func() bool { return m.server.Stats().Seq > 0 })
	return m
}

// offer makes the next World and returns its generation.
func (m *driver) offer(change func(w *model.World) *model.World) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	m.world = change(m.world)
	m.world.Generation = m.generation
	m.loop.Offer(m.world)
	return m.generation
}

// wait returns when every client has acknowledged a World.
func (m *driver) wait(generation uint64) {
	deadline := time.After(5 * time.Minute)
	for {
		m.mu.Lock()
		passed, moved := m.passed, m.moved
		m.mu.Unlock()
		if passed >= generation {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			m.t.Fatalf("generation %d was not acknowledged within 5 minutes; %d was", generation, passed)
		}
	}
}

// settle waits until so many clients are connected and have acknowledged the newest World.
func (m *driver) settle(clients int) {
	m.connected(clients)
	m.wait(m.offer(func(w *model.World) *model.World { return withEndpoint(w, 0, int(m.generation)) }))
}

func (m *driver) connected(clients int) {
	for deadline := time.Now().Add(time.Minute); m.server.Stats().Streams["gateway"] != clients; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%v clients are connected after a minute, want %d", m.server.Stats().Streams, clients)
		}
	}
}

// withEndpoint returns w with another endpoint of its backend i.
func withEndpoint(w *model.World, i, port int) *model.World {
	next, backend := *w, *w.Backends[i]
	backend.Endpoints = []model.Endpoint{{Host: "10.0.0.2", Port: 1 + port%60_000}}
	next.Backends = slices.Clone(w.Backends)
	next.Backends[i] = &backend
	return &next
}

// withTarget is w with its route i sending its requests to its backend j.
func withTarget(w *model.World, i, j int) *model.World {
	next, route := *w, *w.Routes[i]
	route.Rules = slices.Clone(route.Rules)
	route.Rules[0].Shares = []model.Share{{Revision: w.Backends[j%len(w.Backends)].Revision, Percent: 100}}
	next.Routes = slices.Clone(w.Routes)
	next.Routes[i] = &route
	return &next
}

// churn changes the endpoints of one service after another, so many a second, until end is called.
func (m *driver) churn(perSecond int) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				m.offer(func(w *model.World) *model.World { return withEndpoint(w, i%m.services, i) })
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// liveHeap is the size of all reachable objects, in bytes.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC() // frees what finalizers of the first still held
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// BenchmarkWorldToLastAck measures the time from a World until the last of 100 clients has acknowledged it: at rest, and while
// the endpoints of other services change 100 times a second. It includes translation, both ends of gRPC and the clients. Each
// client subscribes to everything, as Envoy does. B/change is how many bytes of resources all clients received per change.
func BenchmarkWorldToLastAck(b *testing.B) {
	changes := []struct {
		name string
		make func(w *model.World, i int) *model.World
	}{
		{"endpoint", func(w *model.World, i int) *model.World { return withEndpoint(w, len(w.Backends)/2, i) }},
		{"route", func(w *model.World, i int) *model.World {
			return withTarget(w, len(w.Routes)/2, i)
		}},
	}
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			empty := liveHeap()
			m := newDriver(b, n)
			alone := liveHeap()
			f := newFleet(b, m.address, fleetSize)
			m.settle(fleetSize)
			held := liveHeap()
			for _, c := range changes {
				for _, perSecond := range []int{0, 100} {
					b.Run(fmt.Sprintf("%s/churn=%d", c.name, perSecond), func(b *testing.B) {
						if perSecond > 0 {
							defer m.churn(perSecond)()
						}
						m.time(b, f, c.make)
						b.ReportMetric((alone-empty)/float64(n), "heap-B/route")
						b.ReportMetric((held-alone)/fleetSize, "heap-B/client")
					})
				}
			}
		})
	}
}

// time measures changes one after the other.
func (m *driver) time(b *testing.B, f *fleet, change func(w *model.World, i int) *model.World) {
	var took []time.Duration
	before := f.bytes.Load()
	for i := 1; b.Loop(); i++ {
		start := time.Now()
		m.wait(m.offer(func(w *model.World) *model.World { return change(w, i) }))
		took = append(took, time.Since(start))
	}
	b.ReportMetric(float64(f.bytes.Load()-before)/float64(len(took)), "B/change")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkReconnect measures 100 clients that lose their streams at once and reconnect with the versions that they have, until
// the server has answered all of them and they have acknowledged a change. B/op is what they received besides the change.
func BenchmarkReconnect(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			m := newDriver(b, n)
			f := newFleet(b, m.address, fleetSize)
			m.settle(fleetSize)
			before, times := f.bytes.Load(), 0
			for b.Loop() {
				f.cut()
				m.connected(0)
				f.connect()
				m.settle(fleetSize)
				times++
			}
			b.ReportMetric(float64(f.bytes.Load()-before)/float64(times), "B/reconnect")
		})
	}
}
