package conformance

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/autoscaler/external/externalscaler"
)

// scaler is a scaler whose answers a test sets.
type scaler struct {
	externalscaler.UnimplementedExternalScalerServer
	active  func(*externalscaler.ScaledObjectRef) (bool, error)
	specs   func() []*externalscaler.MetricSpec
	metrics func(name string) (*externalscaler.MetricValue, error)
	stream  func(to grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error
}

func (s *scaler) IsActive(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	active, err := s.active(ref)
	return &externalscaler.IsActiveResponse{Result: active}, err
}

func (s *scaler) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: s.specs()}, nil
}

func (s *scaler) GetMetrics(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	v, err := s.metrics(r.GetMetricName())
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{v}}, err
}

func (s *scaler) StreamIsActive(ref *externalscaler.ScaledObjectRef, to grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	if s.stream == nil {
		return s.UnimplementedExternalScalerServer.StreamIsActive(ref, to)
	}
	return s.stream(to)
}

func good() *scaler {
	return &scaler{
		active: func(*externalscaler.ScaledObjectRef) (bool, error) { return true, nil },
		specs: func() []*externalscaler.MetricSpec {
			return []*externalscaler.MetricSpec{{MetricName: "depth", TargetSize: 5}}
		},
		metrics: func(name string) (*externalscaler.MetricValue, error) {
			if name != "depth" {
				return nil, status.Error(codes.NotFound, "there is no such metric")
			}
			return &externalscaler.MetricValue{MetricName: "depth", MetricValue: 12}, nil
		},
		stream: func(to grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
			err := to.Send(&externalscaler.IsActiveResponse{Result: true})
			<-to.Context().Done()
			return err
		},
	}
}

func check(t *testing.T, s *scaler) (failed int, table string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(server, s)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out strings.Builder
	failed = Print(&out, Run(t.Context(), conn, nil))
	return failed, out.String()
}

func TestAGoodScalerPasses(t *testing.T) {
	if failed, table := check(t, good()); failed != 0 || strings.Contains(table, "FAIL") || !strings.Contains(table, "depth = 12") {
		t.Errorf("%d checks failed:\n%s", failed, table)
	}
	s := good()
	s.stream = nil
	if failed, table := check(t, s); failed != 0 || !strings.Contains(table, "skip  StreamIsActive") {
		t.Errorf("%d checks failed without the stream, which is optional:\n%s", failed, table)
	}
}

func TestEachMistakeIsFoundWithARemedy(t *testing.T) {
	targets := int64(1)
	for name, c := range map[string]struct {
		spoil func(s *scaler)
		want  []string
	}{
		"it does not answer": {func(s *scaler) {
			s.active = func(*externalscaler.ScaledObjectRef) (bool, error) {
				return false, status.Error(codes.Internal, "no\nlist")
			}
		}, []string{"FAIL  IsActive answers", "Internal: no list", "1 of 1 checks failed"}},
		"no metric": {func(s *scaler) { s.specs = func() []*externalscaler.MetricSpec { return nil } },
			[]string{"FAIL  GetMetricSpec names", "name one metric at least"}},
		"no target": {func(s *scaler) {
			s.specs = func() []*externalscaler.MetricSpec { return []*externalscaler.MetricSpec{{MetricName: "depth"}} }
		}, []string{"FAIL  GetMetricSpec names", "more than 0"}},
		"another target each time": {func(s *scaler) {
			s.specs = func() []*externalscaler.MetricSpec {
				targets++
				return []*externalscaler.MetricSpec{{MetricName: "depth", TargetSize: targets}}
			}
		}, []string{"FAIL  GetMetricSpec answers the same again", "KEDA asks once"}},
		"NaN": {func(s *scaler) {
			s.metrics = func(string) (*externalscaler.MetricValue, error) {
				return &externalscaler.MetricValue{MetricName: "depth", MetricValueFloat: math.NaN()}, nil
			}
		}, []string{"FAIL  GetMetrics returns", "depth is NaN", "FAIL  GetMetrics refuses"}},
		"it needs metadata, and fails without": {func(s *scaler) {
			s.active = func(ref *externalscaler.ScaledObjectRef) (bool, error) {
				if len(ref.GetScalerMetadata()) > 0 {
					return false, status.Error(codes.Unavailable, "what is this?")
				}
				return true, nil
			}
		}, []string{"FAIL  further metadata", "INVALID_ARGUMENT"}},
		"a stream that ends": {func(s *scaler) {
			s.stream = func(grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
				return status.Error(codes.Internal, "enough")
			}
		}, []string{"FAIL  StreamIsActive", "keep the stream open"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			c.spoil(s)
			failed, table := check(t, s)
			for _, want := range c.want {
				if failed == 0 || !strings.Contains(table, want) {
					t.Errorf("%d checks failed, and %q is not in\n%s", failed, want, table)
				}
			}
		})
	}
}
