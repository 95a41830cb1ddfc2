package xds_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestChangeIsOneResourceToEachClient(t *testing.T) {
	r := serve(t, xds.Options{})
	var all []*resource.Resource
	for i := range 2000 {
		all = append(all, endpoints(fmt.Sprint("ns/", i), ""))
	}
	r.set(all...)
	var clients []*raw
	for range 5 {
		c := r.connect(t, delta, "gateway")
		c.subscribe(resource.EndpointType)
		c.ack(c.next())
		clients = append(clients, c)
	}
	before := r.Stats()
	r.set(endpoints("ns/7", "changed"))
	for _, c := range clients {
		c.take(resource.EndpointType, "ns/7")
	}
	after := r.Stats()
	if sent := after.Pushes - before.Pushes; sent != uint64(len(clients)) {
		t.Errorf("%d responses to %d clients", sent, len(clients))
	}
	if sent := after.Bytes - before.Bytes; sent > uint64(len(clients)*100) {
		t.Errorf("%d bytes of resources to %d clients", sent, len(clients))
	}
}

// peer is a control plane that a benchmark drives: change makes one endpoint of many new.
type peer interface {
	register(s *grpc.Server)
	fill(n int)
	change(i int)
}

// assignment is what all of them serve.
func assignment(i, version int) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: fmt.Sprint("ns/", i),
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{Locality: &corev3.Locality{Zone: fmt.Sprint(version)}}},
	}
}

type ours struct{ *xds.Server }

func (o ours) register(s *grpc.Server) { o.Register(s) }

func (o ours) fill(n int) {
	var u resource.Update
	for i := range n {
		a := assignment(i, -1)
		u.Set = append(u.Set, made(resource.EndpointType, a.GetClusterName(), a))
	}
	o.Apply(u)
}

func (o ours) change(i int) {
	a := assignment(0, i)
	o.Apply(resource.Update{Set: []*resource.Resource{made(resource.EndpointType, a.GetClusterName(), a)}})
}

type linear struct{ *cache.LinearCache }

func (l linear) register(s *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, serverv3.NewServer(context.Background(), l.LinearCache, nil))
}

func (l linear) fill(n int) {
	all := map[string]types.Resource{}
	for i := range n {
		a := assignment(i, -1)
		all[a.GetClusterName()] = a
	}
	l.SetResources(all)
}

func (l linear) change(i int) {
	a := assignment(0, i)
	if err := l.UpdateResource(a.GetClusterName(), a); err != nil {
		panic(err)
	}
}

// oneGroup makes all clients share a snapshot.
type oneGroup struct{}

func (oneGroup) ID(*corev3.Node) string { return "" }

type snapshot struct {
	cache.SnapshotCache
	all []types.Resource
}

func (s *snapshot) register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(context.Background(), s.SnapshotCache, nil))
}

func (s *snapshot) fill(n int) {
	for i := range n {
		s.all = append(s.all, assignment(i, -1))
	}
	s.put("first")
}

func (s *snapshot) change(i int) {
	s.all[0] = assignment(0, i)
	s.put(fmt.Sprint(i))
}

func (s *snapshot) put(version string) {
	next, err := cache.NewSnapshot(version, map[gcpresource.Type][]types.Resource{gcpresource.EndpointType: s.all})
	if err == nil {
		err = s.SetSnapshot(context.Background(), "", next)
	}
	if err != nil {
		panic(err)
	}
}

// listeners are clients that only read and acknowledge.
func attach(b *testing.B, address string, clients, resources int, more ...grpc.DialOption) (arrived *atomic.Int64) {
	arrived = new(atomic.Int64)
	ready := make(chan struct{})
	for i := range clients {
		conn, err := grpc.NewClient(address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}, more...)...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		go listen(stream, fmt.Sprint(i), resources, ready, arrived)
	}
	for range clients {
		<-ready
	}
	return arrived
}

func listen(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, id string, resources int, ready chan<- struct{},
	arrived *atomic.Int64) {
	_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: id, Cluster: "gateway"}, TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{"*"},
	})
	for got := 0; ; {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
		if got < resources {
			if got += len(r.GetResources()); got >= resources {
				ready <- struct{}{}
			}
			continue
		}
		arrived.Add(int64(len(r.GetResources())))
	}
}

// cpu is what the process used, in nanoseconds.
func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkEndpointChange is one changed endpoint of many on its way to 100 delta clients over loopback. ns/op is until all have it.
// heap-B/client is what a connected client holds at both ends. cpu-ns/client counts the process: the server's part, the client's part
// and both ends of gRPC.
func BenchmarkEndpointChange(b *testing.B) {
	const clients = 100
	for _, n := range []int{100, 10_000} {
		for name, start := range map[string]func(b *testing.B) peer{
			"sluice": func(b *testing.B) peer {
				s := xds.New(xds.Options{})
				b.Cleanup(s.Close)
				return ours{s}
			},
			"LinearCache":   func(*testing.B) peer { return linear{cache.NewLinearCache(gcpresource.EndpointType)} },
			"SnapshotCache": func(*testing.B) peer { return &snapshot{SnapshotCache: cache.NewSnapshotCache(true, oneGroup{}, nil)} },
		} {
			b.Run(fmt.Sprintf("%s/resources=%d", name, n), func(b *testing.B) {
				p := start(b)
				address := carry(b, p)
				p.fill(n)
				empty := heap()
				arrived := attach(b, address, clients, n)
				held := float64(heap()-empty) / clients
				b.ReportAllocs()
				change, before := 0, cpu()
				for b.Loop() {
					change++
					p.change(change)
					for arrived.Load() < int64(change*clients) {
						time.Sleep(20 * time.Microsecond)
					}
				}
				b.ReportMetric(float64(cpu()-before)/float64(b.N*clients), "cpu-ns/client")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clients), "ns/client")
				b.ReportMetric(held, "heap-B/client")
			})
		}
	}
}

func carry(b *testing.B, p peer) string {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	carrier := grpc.NewServer(xds.ServerOptions()...)
	p.register(carrier)
	go func() { _ = carrier.Serve(socket) }()
	b.Cleanup(carrier.Stop)
	return socket.Addr().String()
}

// BenchmarkApply is the cost of a change to the server alone, without clients.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("resources=%d", n), func(b *testing.B) {
			s := xds.New(xds.Options{})
			defer s.Close()
			o := ours{s}
			o.fill(n)
			two := []resource.Update{
				{Set: []*resource.Resource{endpoints("ns/0", "a")}},
				{Set: []*resource.Resource{endpoints("ns/0", "b")}},
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Apply(two[i%2])
			}
		})
	}
}
