package xds_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
)

// BenchmarkStatus is one inspection over loopback, both sides counted: the figures of a thousand clients with ten resources
// each, the versions of one with ten thousand clusters, and their contents.
func BenchmarkStatus(b *testing.B) {
	figures := &statusv3.ClientStatusRequest{Node: &corev3.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		csds.StatusKey: structpb.NewStructValue(&structpb.Struct{
			Fields: map[string]*structpb.Value{"resources": structpb.NewBoolValue(false)},
		}),
	}}}}
	for _, c := range []struct {
		name               string
		clients, resources int
		request            *statusv3.ClientStatusRequest
	}{
		{"figures", 1000, 10, figures},
		{"versions", 1, 10_000, &statusv3.ClientStatusRequest{ExcludeResourceContents: true}},
		{"contents", 1, 10_000, &statusv3.ClientStatusRequest{}},
	} {
		b.Run(fmt.Sprintf("%s/clients=%d/resources=%d", c.name, c.clients, c.resources), func(b *testing.B) {
			r := serve(b, xds.Options{})
			var all []*resource.Resource
			for i := range c.resources {
				all = append(all, cluster(fmt.Sprintf("ns/%05d", i), ""))
			}
			r.set(all...)
			var conn *grpc.ClientConn
			for i := range c.clients {
				if i%100 == 0 {
					conn = r.dial(b)
				}
				acknowledgeAll(b, conn, fmt.Sprintf("c%04d", i))
			}
			want := uint64(c.clients)
			eventually(b, "all have all", func() bool { s := r.Stats(); return s.Acks >= want && s.Acks == s.Pushes })
			inspector := statusv3.NewClientStatusDiscoveryServiceClient(r.dial(b))
			b.ReportAllocs()
			for b.Loop() {
				stream, err := inspector.StreamClientStatus(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if err := stream.Send(c.request); err != nil {
					b.Fatal(err)
				}
				if err := stream.CloseSend(); err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = stream.Recv()
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}

// acknowledgeAll follows all clusters.
func acknowledgeAll(b *testing.B, conn *grpc.ClientConn, id string) {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, TypeUrl: resource.ClusterType}); err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResponseNonce: response.GetNonce()})
		}
	}()
}
