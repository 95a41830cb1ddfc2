package xds_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// hostility is a hostile or broken client. It runs until ctx ends. size scales what it does: 100 is all of it.
type hostility struct {
	name string
	work func(ctx context.Context, address string, size int)
}

var hostilities = []hostility{
	{"none", func(ctx context.Context, _ string, _ int) { <-ctx.Done() }},
	{"rejects everything", rejectEverything},
	{"never reads", neverRead},
	{"sends garbage", sendGarbage},
	{"opens 10,000 streams", openStreams},
}

// link is a connection of a hostile client; its windows are small if the client does not read.
func link(address string, options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
	if err != nil {
		panic(err)
	}
	return conn
}

// firstRequest is a first request of a gateway for everything of a type.
func firstRequest(id, typeURL string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: id, Cluster: "gateway"}, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"},
	}
}

// rejectEverything NACKs each response, and subscribes to everything again as fast as it is served.
func rejectEverything(ctx context.Context, address string, _ int) {
	conn := link(address)
	defer conn.Close()
	for ctx.Err() == nil {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			return
		}
		_ = stream.Send(firstRequest("no", resource.EndpointType))
		for {
			r, err := stream.Recv()
			if err != nil {
				break
			}
			no := firstRequest("no", resource.EndpointType)
			no.ResponseNonce, no.ErrorDetail = r.GetNonce(), rejected("I will have none of it")
			_ = stream.Send(no)
		}
	}
}

// neverRead subscribes to everything on as many streams as a connection may have, and reads no response.
func neverRead(ctx context.Context, address string, _ int) {
	conn := link(address, grpc.WithInitialWindowSize(65_535), grpc.WithInitialConnWindowSize(65_535))
	defer conn.Close()
	for i := range 100 {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err == nil {
			_ = stream.Send(firstRequest(fmt.Sprint("stuck-", i), resource.EndpointType))
		}
	}
	<-ctx.Done()
}

// sendGarbage sends bytes that are not HTTP/2, messages that are not requests, and requests for types and names that do not exist.
func sendGarbage(ctx context.Context, address string, _ int) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	conn := link(address)
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		if socket, err := net.Dial("tcp", address); err == nil {
			_, _ = socket.Write(noise[:10_000])
			socket.Close()
		}
		raw, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", grpc.ForceCodec(bytesCodec{}))
		if err != nil {
			return
		}
		_ = raw.SendMsg(noise[:1+i%len(noise)])
		_ = raw.RecvMsg(new([]byte)) // how it ends
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			return
		}
		nonsense := firstRequest("?", "type.googleapis.com/"+strings.Repeat("x", i%200))
		for j := range 1000 {
			nonsense.ResourceNamesSubscribe = append(nonsense.ResourceNamesSubscribe, fmt.Sprint(i, j))
			nonsense.ResourceNamesUnsubscribe = append(nonsense.ResourceNamesUnsubscribe, fmt.Sprint(j, i))
		}
		_ = stream.Send(nonsense)
		_, _ = stream.Recv()
		_ = stream.CloseSend()
		pause(ctx, time.Millisecond)
	}
}

// bytesCodec sends bytes as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (bytesCodec) Unmarshal([]byte, any) error   { return nil }
func (bytesCodec) Name() string                  { return "proto" }

// openStreams opens 100 streams on each of size connections, and keeps as many as it is given.
func openStreams(ctx context.Context, address string, size int) {
	var open sync.WaitGroup
	for c := range size {
		open.Go(func() {
			conn := link(address)
			defer conn.Close()
			for s := range 100 {
				stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
				if err != nil {
					return
				}
				_ = stream.Send(firstRequest(fmt.Sprint("many-", c, "-", s), "type.googleapis.com/test.Nothing"))
				pause(ctx, 10*time.Millisecond)
			}
			<-ctx.Done()
		})
	}
	open.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// goodOnes are clients that behave well; arrived counts what all of them have received.
func goodOnes(t testing.TB, r *rig, clients int) (arrived *atomic.Int64) {
	arrived = new(atomic.Int64)
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); running.Wait() })
	for i := range clients {
		conn := link(r.address)
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(firstRequest(fmt.Sprint("good-", i), resource.EndpointType)); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer conn.Close()
			for {
				got, err := stream.Recv()
				if err != nil {
					return
				}
				arrived.Add(int64(len(got.GetResources())))
				_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: got.GetTypeUrl(), ResponseNonce: got.GetNonce()})
			}
		})
	}
	return arrived
}

// attack is a server with resources, good clients that have them, and a running hostile one.
func attack(t testing.TB, h hostility, size, good, resources int) (r *rig, arrived *atomic.Int64) {
	r = serve(t, xds.Options{})
	all := make([]*resource.Resource, resources)
	for i := range all {
		all[i] = endpoints(fmt.Sprint("ns/", i), strings.Repeat("z", 1000))
	}
	r.set(all...)
	arrived = goodOnes(t, r, good)
	eventually(t, "the good clients have everything", func() bool { return arrived.Load() >= int64(good*resources) })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.work(ctx, r.address, size) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r, arrived
}

// Whatever one client does, the others are served, and when it has left the server keeps nothing of it.
func TestHostileClientHarmsNoOther(t *testing.T) {
	for _, h := range hostilities[1:] {
		t.Run(h.name, func(t *testing.T) {
			const good, resources, changes = 5, 500, 50
			before := runtime.NumGoroutine()
			t.Run("at work", func(t *testing.T) {
				r, arrived := attack(t, h, 10, good, resources)
				start := heap()
				for i := range changes {
					was := arrived.Load()
					r.set(endpoints(fmt.Sprint("ns/", i), fmt.Sprint("changed ", i)))
					eventually(t, "the good clients have the change", func() bool { return arrived.Load() >= was+good })
				}
				if grown := heap() - start; grown > 64<<20 {
					t.Errorf("the heap grew by %d MiB", grown>>20)
				}
			})
			eventually(t, "its goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+5 })
		})
	}
}

// The server has no more streams than its limit, and lets the next client in as soon as one has ended.
func TestStreamsAreBounded(t *testing.T) {
	r := serve(t, xds.Options{MaxStreams: 200})
	r.set(endpoints("a", "0"))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { openStreams(ctx, r.address, 10) })
	eventually(t, "all streams are taken", func() bool { return r.Stats().Streams["gateway"] == 200 })
	cancel()
	running.Wait()
	eventually(t, "they are gone", func() bool { return r.Stats().Streams["gateway"] == 0 })
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType)
	c.take(resource.EndpointType, "a")
}

// BenchmarkHostile is one changed endpoint of 1,000 on its way to 20 well-behaved clients, beside a hostile one. p50 and p99 are
// until all of the 20 have it; heap-MiB is what the process grew by, the hostile client included.
func BenchmarkHostile(b *testing.B) {
	for _, h := range hostilities {
		b.Run(strings.ReplaceAll(h.name, " ", "-"), func(b *testing.B) {
			const good, resources = 20, 1000
			empty := heap()
			r, arrived := attack(b, h, 100, good, resources)
			time.Sleep(time.Second) // until it is in full swing
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				was, start := arrived.Load(), time.Now()
				r.set(endpoints(fmt.Sprint("ns/", i%resources), fmt.Sprint("changed ", i)))
				for arrived.Load() < was+good {
					time.Sleep(20 * time.Microsecond)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(heap()-empty)/(1<<20), "heap-MiB")
		})
	}
}
