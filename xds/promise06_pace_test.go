package xds

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/resource"
)

// deltaScript is an incremental stream whose client says what it holds, and then nothing until ctx ends.
type deltaScript struct {
	deltaStream
	ctx  context.Context
	says []*discoveryv3.DeltaDiscoveryRequest
}

func (s *deltaScript) Context() context.Context { return s.ctx }
func (s *deltaScript) SendMsg(any) error        { return nil }
func (s *deltaScript) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	if len(s.says) == 0 {
		<-s.ctx.Done()
		return nil, io.EOF
	}
	r := s.says[0]
	s.says = s.says[1:]
	return r, nil
}

func TestClientThatNacksInALoopIsMadeToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rejections = 1000
		says := []*discoveryv3.DeltaDiscoveryRequest{{TypeUrl: resource.ClusterType}}
		for range rejections {
			says = append(says, &discoveryv3.DeltaDiscoveryRequest{
				TypeUrl: resource.ClusterType, ResponseNonce: "1", ErrorDetail: &statuspb.Status{Message: "no"},
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen, began := 0, time.Now()
		server := New(Options{Nacked: func(resource.Nack) {
			if seen++; seen == rejections {
				cancel()
			}
		}})
		server.Apply(resource.Update{})
		if err := server.DeltaAggregatedResources(&deltaScript{ctx: ctx, says: says}); err != nil {
			t.Error(err)
		}
		server.Close()
		want := (rejections - 2*maxNacks) * time.Second / maxNacks
		if took := time.Since(began); took < want-time.Millisecond || took > want+10*time.Millisecond {
			t.Errorf("%d rejections were taken in %v, want %v", rejections, took, want)
		}
		if pushes := server.Stats().Pushes; pushes != 1 {
			t.Errorf("%d responses were sent, want the first alone", pushes)
		}
	})
}

func TestStreamWithoutARequestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, began := New(Options{}), time.Now()
		server.Apply(resource.Update{})
		ctx, cancel := context.WithCancel(t.Context())
		err := server.DeltaAggregatedResources(&deltaScript{ctx: ctx})
		if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took < helloTimeout || took > helloTimeout+time.Second {
			t.Errorf("it ended with %v after %v", err, took)
		}
		cancel() // as gRPC does when a handler has returned
		server.Close()
	})
}
