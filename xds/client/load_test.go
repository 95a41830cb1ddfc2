package client_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// control is a real control plane that reports what it receives.
type control struct {
	*xds.Server
	t       *testing.T
	address string
	reports chan resource.LoadReport
	clients chan []resource.Node // of activators
	stop    func()
}

func serve(t *testing.T, address string, interval time.Duration) *control {
	t.Helper()
	c := &control{t: t, reports: make(chan resource.LoadReport, 10_000), clients: make(chan []resource.Node, 1000)}
	socket, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c.address = socket.Addr().String()
	c.Server = xds.New(xds.Options{
		LoadInterval: interval, Loads: func(r resource.LoadReport) { c.reports <- r },
		Clients: func(role uint8, nodes []resource.Node) {
			if role == contract.RoleActivator {
				c.clients <- nodes
			}
		},
	})
	carrier := grpc.NewServer(xds.ServerOptions()...)
	c.Register(carrier)
	go func() { _ = carrier.Serve(socket) }()
	c.stop = func() {
		carrier.Stop()
		c.Close()
	}
	t.Cleanup(c.stop)
	return c
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func (c *control) report(client string, want ...resource.ClusterLoad) resource.LoadReport {
	c.t.Helper()
	got := await(c.t, "a report", c.reports)
	measured := cmpopts.IgnoreFields(resource.ClusterLoad{}, "Interval")
	if diff := cmp.Diff(want, got.Clusters, measured, cmpopts.EquateEmpty()); diff != "" || got.Client != client ||
		got.Role != contract.RoleActivator || got.Ended {
		c.t.Fatalf("report of %q, role %d, ended %v (-want +got):\n%s", got.Client, got.Role, got.Ended, diff)
	}
	for _, l := range got.Clusters {
		if l.Interval <= 0 || l.Interval > patience {
			c.t.Fatalf("the report is about %v", l.Interval)
		}
	}
	return got
}

func (c *control) are(want ...resource.Node) {
	c.t.Helper()
	for {
		if cmp.Equal(await(c.t, "clients", c.clients), want, cmpopts.EquateEmpty()) {
			return
		}
	}
}

func TestLoadIsReportedAtOnceAndThenWhenAskedFor(t *testing.T) {
	p := serve(t, "127.0.0.1:0", time.Hour)
	loads := make(chan []client.ClusterLoad, 10)
	c := client.New(client.Config{
		Target: p.address, NodeID: "a", Role: "activator", Zone: "z", Load: func() []client.ClusterLoad { return <-loads },
	})
	loads <- nil
	run(t, c)
	first := p.report("a")

	c.ReportLoad()
	loads <- []client.ClusterLoad{
		{Cluster: "ns/a", Zone: "pods", Issued: 9, Succeeded: 6, Failed: 2, InProgress: 3, Concurrency: 1.5, Streams: 0.5, Waiting: 4},
		{Cluster: "ns/b", Zone: "pods", Issued: 1},
		{Cluster: "ns/a", Zone: "activator", InProgress: 1, Concurrency: 2},
	}
	p.report("a",
		resource.ClusterLoad{
			Cluster: "ns/a", Zone: "pods", Issued: 9, Succeeded: 6, Failed: 2, InProgress: 3, Concurrency: 1.5, Streams: 0.5, Waiting: 4,
			Averaged: true,
		},
		resource.ClusterLoad{Cluster: "ns/a", Zone: "activator", InProgress: 1, Concurrency: 2, Averaged: true},
		resource.ClusterLoad{Cluster: "ns/b", Zone: "pods", Issued: 1, Averaged: true})

	// ReportLoad never blocks. Many calls make one report, or two if one was being made.
	for range 1000 {
		c.ReportLoad()
	}
	close(loads)
	p.report("a")
	p.Close()
	for got := range p.reports {
		if got.Ended {
			if got.Stream != first.Stream {
				t.Errorf("stream %d ended, want %d", got.Stream, first.Stream)
			}
			break
		}
		p.report("a")
	}
}

func TestLoadIsReportedAtTheServersInterval(t *testing.T) {
	p := serve(t, "127.0.0.1:0", 20*time.Millisecond)
	var calls atomic.Uint64
	run(t, client.New(client.Config{Target: p.address, NodeID: "a", Role: "activator", Load: func() []client.ClusterLoad {
		return []client.ClusterLoad{{Cluster: "c", Issued: calls.Add(1)}}
	}}))
	for i := range 10 {
		p.report("a", resource.ClusterLoad{Cluster: "c", Issued: uint64(i + 1), Averaged: true})
	}
}

func TestStreamsDoNotDisturbEachOther(t *testing.T) {
	p := start(t, "127.0.0.1:0")
	c := client.New(client.Config{Target: p.address, Load: func() []client.ClusterLoad { t.Error("load is asked for"); return nil }})
	c.Subscribe(clusterType, "*")
	run(t, c)
	s := p.accept()
	s.expect(request{Type: clusterType, Subscribe: []string{"*"}})
	for range 3 {
		await(t, "another attempt to report load", p.loads)
	}
	s.say(clusterType, "1", map[string]string{"a": "v1"})
	s.expect(request{Type: clusterType, Nonce: "1"})
	if len(p.streams) > 0 {
		t.Error("the stream was opened again")
	}
}

func TestLoadStreamComesBackWithItsControlPlane(t *testing.T) {
	p := serve(t, "127.0.0.1:0", time.Hour)
	run(t, client.New(client.Config{Target: p.address, NodeID: "a", Role: "activator", Load: func() []client.ClusterLoad {
		return []client.ClusterLoad{{Cluster: "c", InProgress: 1}}
	}}))
	want := resource.ClusterLoad{Cluster: "c", InProgress: 1, Averaged: true}
	p.report("a", want)
	p.stop()
	serve(t, p.address, time.Hour).report("a", want)
}

func TestRetiringWithdrawsOnlyTheAddress(t *testing.T) {
	p := serve(t, "127.0.0.1:0", time.Hour)
	updates := make(chan client.Update, 100)
	c := client.New(client.Config{Target: p.address, NodeID: "a", Role: "activator", Address: "127.0.0.1:8012",
		Handler: func(u client.Update) error { updates <- u; return nil }, Load: func() []client.ClusterLoad { return nil }})
	assignment := func(name, version string) *resource.Resource {
		return &resource.Resource{
			Type: endpointType, Name: name, Version: version, Body: []byte("body " + version), Roles: contract.RoleActivator,
		}
	}
	p.Apply(resource.Update{Set: []*resource.Resource{assignment("x", "1"), assignment("y", "1")}})
	c.Subscribe(endpointType, "x", "y")
	run(t, c)
	p.are(resource.Node{ID: "a", Address: "127.0.0.1:8012"})
	if got := await(t, "endpoints", updates); len(got.Set) != 2 {
		t.Fatalf("got %v", got)
	}
	c.Retire()
	p.are(resource.Node{ID: "a"})
	// It has what it had, and follows what changes.
	p.Apply(resource.Update{Set: []*resource.Resource{assignment("y", "2")}})
	want := client.Update{Type: endpointType, Set: []client.Resource{{Name: "y", Version: "2", Body: []byte("body 2")}}}
	if diff := cmp.Diff(want, await(t, "a change", updates)); diff != "" {
		t.Errorf("update (-want +got):\n%s", diff)
	}
	p.report("a")
	if len(p.reports) > 0 {
		t.Errorf("the load stream did not stay as it was: %+v", <-p.reports)
	}
}

func TestClientThatRetiredBeforeItConnectedGivesNoAddress(t *testing.T) {
	p := serve(t, "127.0.0.1:0", time.Hour)
	c := client.New(client.Config{Target: p.address, NodeID: "a", Role: "activator", Address: "127.0.0.1:8012"})
	c.Subscribe(endpointType, "x")
	c.Retire()
	run(t, c)
	if got, want := await(t, "clients", p.clients), []resource.Node{{ID: "a"}}; !cmp.Equal(got, want) {
		t.Errorf("clients %v, want %v", got, want)
	}
}

// BenchmarkReportLoad is how long it takes from asking for a report until the control plane has it, over loopback.
func BenchmarkReportLoad(b *testing.B) {
	got := make(chan struct{}, 100)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := xds.New(xds.Options{LoadInterval: time.Hour, Loads: func(resource.LoadReport) { got <- struct{}{} }})
	defer server.Close()
	carrier := grpc.NewServer(xds.ServerOptions()...)
	server.Register(carrier)
	go func() { _ = carrier.Serve(socket) }()
	defer carrier.Stop()
	c := client.New(client.Config{Target: socket.Addr().String(), Load: func() []client.ClusterLoad {
		return []client.ClusterLoad{{Cluster: "ns/a", Waiting: 1}}
	}})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-got
	for b.Loop() {
		b.StopTimer()
		time.Sleep(5 * time.Millisecond) // its pace
		b.StartTimer()
		c.ReportLoad()
		<-got
	}
}
