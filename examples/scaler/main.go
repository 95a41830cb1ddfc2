// Command scaler is an external scaler: it has a Service follow the length of a list in Redis. It serves KEDA's contract, so it works with
// KEDA as it is. The metadata of a binding are
//
//	redis    address of the Redis server, by default 127.0.0.1:6379
//	list     name of the list
//	perReplica  how many items one replica should have, by default 5
package main

import (
	"cmp"
	"context"
	"flag"
	"log"
	"net"
	"strconv"
	"sync"
	"time"

	pb "github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type scaler struct {
	pb.UnimplementedExternalScalerServer
	clients sync.Map // by address
}

// length returns how many items the list has.
func (s *scaler) length(ctx context.Context, ref *pb.ScaledObjectRef) (int64, error) {
	list := ref.GetScalerMetadata()["list"]
	if list == "" {
		return 0, status.Error(codes.InvalidArgument, `metadata has no "list": name the list in Redis`)
	}
	address := cmp.Or(ref.GetScalerMetadata()["redis"], "127.0.0.1:6379")
	client, known := s.clients.Load(address)
	if !known {
		client, _ = s.clients.LoadOrStore(address, redis.NewClient(&redis.Options{Addr: address}))
	}
	n, err := client.(*redis.Client).LLen(ctx, list).Result()
	if err != nil {
		return 0, status.Errorf(codes.Unavailable, "reading the list %q: %v", list, err)
	}
	return n, nil
}

func (s *scaler) IsActive(ctx context.Context, ref *pb.ScaledObjectRef) (*pb.IsActiveResponse, error) {
	n, err := s.length(ctx, ref)
	return &pb.IsActiveResponse{Result: n > 0}, err
}

// StreamIsActive says at once when the list gets its first item, or loses its last one.
func (s *scaler) StreamIsActive(ref *pb.ScaledObjectRef, to pb.ExternalScaler_StreamIsActiveServer) error {
	for was, first := false, true; ; {
		if n, err := s.length(to.Context(), ref); err != nil {
			return err
		} else if active := n > 0; first || active != was {
			if err := to.Send(&pb.IsActiveResponse{Result: active}); err != nil {
				return err
			}
			was, first = active, false
		}
		select {
		case <-to.Context().Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *scaler) GetMetricSpec(_ context.Context, ref *pb.ScaledObjectRef) (*pb.GetMetricSpecResponse, error) {
	perReplica, err := strconv.ParseInt(cmp.Or(ref.GetScalerMetadata()["perReplica"], "5"), 10, 64)
	if err != nil || perReplica < 1 {
		return nil, status.Error(codes.InvalidArgument, "perReplica is not a whole number of 1 or more")
	}
	return &pb.GetMetricSpecResponse{MetricSpecs: []*pb.MetricSpec{{MetricName: "items", TargetSize: perReplica}}}, nil
}

func (s *scaler) GetMetrics(ctx context.Context, r *pb.GetMetricsRequest) (*pb.GetMetricsResponse, error) {
	if r.GetMetricName() != "items" {
		return nil, status.Errorf(codes.NotFound, "there is no metric %q: want items", r.GetMetricName())
	}
	n, err := s.length(ctx, r.GetScaledObjectRef())
	return &pb.GetMetricsResponse{MetricValues: []*pb.MetricValue{{MetricName: "items", MetricValue: n}}}, err
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9191", "address to serve at")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterExternalScalerServer(server, &scaler{})
	log.Fatal(server.Serve(listener))
}
