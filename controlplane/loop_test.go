package controlplane_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// harness is a loop that publishes to a real xDS server.
type harness struct {
	t       testing.TB
	loop    *controlplane.Loop
	server  *xds.Server
	address string

	mu         sync.Mutex
	programmed []uint64
	reached    []uint64
	problems   []model.Problem
	clusters   map[string]string // name and version, as the gateway has them
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	return newHarnessThat(t, func(uint64) {})
}

// newHarnessThat makes a harness that also calls a function with each generation that is programmed.
func newHarnessThat(t testing.TB, programmed func(generation uint64)) *harness {
	t.Helper()
	p := &harness{t: t, clusters: map[string]string{}}
	server := xds.New(xds.Options{
		Progress: func(progress resource.Progress) { p.loop.Acknowledge(progress) },
		Rejected: func(rejections []resource.Rejection) { p.loop.Reject(rejections) },
	})
	p.loop = controlplane.New(controlplane.Options{
		Logger: hclog.NewNullLogger(), Publish: server.Apply,
		Problems: func(problems []model.Problem) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.problems = slices.Clone(problems)
		},
		Programmed: func(generation uint64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.programmed = append(p.programmed, generation)
			programmed(generation)
		},
		Reached: func(generation uint64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.reached = append(p.reached, generation)
		},
	})
	p.server = server
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	g := grpc.NewServer(xds.ServerOptions()...)
	server.Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.loop.Run(ctx) })
	running.Go(func() { _ = g.Serve(listener) })
	t.Cleanup(func() {
		cancel()
		server.Close()
		g.Stop()
		running.Wait()
	})
	return p
}

// connect starts a gateway that subscribes to clusters and rejects those whose names contain reject.
func (p *harness) connect(reject string) {
	p.t.Helper()
	c := client.New(client.Config{Target: p.address, NodeID: "gateway-1", Role: "gateway", Handler: func(u client.Update) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, r := range u.Set {
			if reject != "" && strings.Contains(r.Name, reject) {
				return fmt.Errorf("cluster %s is rejected", r.Name)
			}
			p.clusters[r.Name] = r.Version
		}
		for _, name := range u.Removed {
			delete(p.clusters, name)
		}
		return nil
	}})
	c.Subscribe(translator.ClusterType, client.Wildcard)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	p.t.Cleanup(func() { cancel(); <-done })
}

// connectMesh starts a client like gRPC's, which waits for answer before it answers a response.
func (p *harness) connectMesh(answer <-chan struct{}, names ...string) {
	c := client.New(client.Config{Target: p.address, NodeID: "grpc-1", Role: "mesh", Handler: func(client.Update) error {
		<-answer
		return nil
	}})
	c.Subscribe(translator.ClusterType, names...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	p.t.Cleanup(func() { cancel(); <-done })
}

// eventually waits until loop, server and clients together make a condition true.
func (p *harness) eventually(what string, holds func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		ok := holds()
		p.mu.Unlock()
		if ok {
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.t.Fatalf("%s: not within two minutes; programmed %v, problems %v, clusters %v", what, p.programmed, p.problems, p.clusters)
}

func (p *harness) has(generation uint64) func() bool {
	return func() bool { return slices.Contains(p.programmed, generation) }
}

func key(name string) model.Key { return model.Key{Namespace: "default", Name: name} }

// world has a route of each name that leads to the backend of that name.
func world(generation uint64, names ...string) *model.World {
	w := &model.World{Generation: generation, Gateway: model.Gateway{HTTP: "127.0.0.1:8080"}}
	for _, name := range names {
		w.Backends = append(w.Backends, &model.Backend{Revision: key(name), Protocol: model.HTTP1, Via: model.ViaReplicas})
		w.Routes = append(w.Routes, &model.Route{Key: key(name), Owner: model.Ref{Kind: "Route", Key: key(name)}, Rules: []model.Rule{{
			Hosts: []string{name + ".default.localhost"}, Shares: []model.Share{{Revision: key(name), Percent: 100}},
		}}})
	}
	return w
}

func TestWorldIsProgrammedWhenTheGatewayHasIt(t *testing.T) {
	p := newHarness(t)
	p.connect("")
	p.loop.Offer(world(1, "a"))
	p.eventually("generation 1 is programmed", p.has(1))
	p.eventually("the gateway has the cluster", func() bool { return p.clusters["default/a"] != "" })
	p.loop.Offer(world(2, "a", "b"))
	p.eventually("generation 2 is programmed", p.has(2))
	p.loop.Offer(world(3, "b"))
	p.eventually("generation 3 is programmed", p.has(3))
	p.eventually("the gateway lost the cluster", func() bool { return p.clusters["default/a"] == "" && p.clusters["default/b"] != "" })
}

func TestWorldWithoutAnyChangeIsProgrammedAtOnce(t *testing.T) {
	p := newHarness(t)
	p.connect("")
	w := world(1, "a")
	p.loop.Offer(w)
	p.eventually("generation 1 is programmed", p.has(1))
	again := *w
	again.Generation = 2
	p.loop.Offer(&again)
	p.eventually("generation 2 is programmed", p.has(2))
}

func TestNothingIsProgrammedWithoutAGateway(t *testing.T) {
	p := newHarness(t)
	bad := world(1, "a")
	bad.Routes[0].Rules[0].Shares[0].Revision = key("nowhere")
	p.loop.Offer(bad)
	p.eventually("the problems arrive", func() bool { return len(p.problems) > 0 })
	p.mu.Lock()
	early := slices.Clone(p.programmed)
	p.mu.Unlock()
	if len(early) > 0 {
		t.Errorf("generations %v were programmed while no gateway was connected", early)
	}
	p.connect("")
	p.eventually("it is programmed when a gateway connects", p.has(1))
}

func TestProblemsAreThoseOfTheNewestWorld(t *testing.T) {
	p := newHarness(t)
	bad := world(1, "a")
	bad.Routes[0].Rules[0].Shares[0].Revision = key("nowhere")
	p.loop.Offer(bad)
	p.eventually("the problem arrives", func() bool { return len(p.problems) == 1 && p.problems[0].Owner.Key == key("a") })
	p.loop.Offer(world(2, "a"))
	p.eventually("the problem is gone", func() bool { return len(p.problems) == 0 })
}

func TestRejectionHoldsUpNoOtherWorld(t *testing.T) {
	p := newHarness(t)
	p.connect("bad")
	p.loop.Offer(world(1, "a"))
	p.eventually("generation 1 is programmed", p.has(1))
	p.loop.Offer(world(2, "a", "bad"))
	p.loop.Offer(world(3, "a", "bad", "c"))
	p.eventually("the last generation is programmed", p.has(3))
}

func TestOnlyTheNewestOfManyWorldsMatters(t *testing.T) {
	p := newHarness(t)
	p.connect("")
	for i := range uint64(200) {
		p.loop.Offer(world(i+1, fmt.Sprint("r", i%7)))
	}
	p.eventually("the last generation is programmed", p.has(200))
	p.eventually("and only its cluster is left", func() bool {
		return p.clusters["default/r3"] != "" && len(p.clusters) <= 2 // the other is the cluster of the activators
	})
	if !slices.IsSorted(p.programmed) {
		t.Errorf("generations were programmed in the order %v", p.programmed)
	}
}

func TestWorldIsReachedWhenEveryClientThatRoutesRequestsHasIt(t *testing.T) {
	p := newHarness(t)
	p.connect("")
	p.loop.Offer(world(1, "a"))
	p.eventually("generation 1 is reached by the gateway alone", func() bool { return slices.Contains(p.reached, 1) })

	answer := make(chan struct{})
	p.connectMesh(answer, "default/b")
	answer <- struct{}{} // there is no such cluster yet
	p.loop.Offer(world(2, "a", "b"))
	p.eventually("generation 2 is programmed", p.has(2))
	p.mu.Lock()
	early := slices.Contains(p.reached, 2)
	p.mu.Unlock()
	if early {
		t.Error("generation 2 was reached before the gRPC client had acknowledged it")
	}
	close(answer)
	p.eventually("generation 2 is reached", func() bool { return slices.Contains(p.reached, 2) })
}
