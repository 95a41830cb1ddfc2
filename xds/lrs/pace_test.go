package lrs

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/resource"
)

// script is a load stream whose client says what it holds, and then nothing until ctx ends.
type script struct {
	grpc.ServerStream
	ctx  context.Context
	says []*load_statsv3.LoadStatsRequest
}

func (s *script) Context() context.Context                   { return s.ctx }
func (s *script) Send(*load_statsv3.LoadStatsResponse) error { return nil }
func (s *script) Recv() (*load_statsv3.LoadStatsRequest, error) {
	if len(s.says) == 0 {
		<-s.ctx.Done()
		return nil, io.EOF
	}
	r := s.says[0]
	s.says = s.says[1:]
	return r, nil
}

// open lets every client in and trusts it.
type open struct{}

func (open) Enter() (func(), error)                     { return func() {}, nil }
func (open) Permit(context.Context, *corev3.Node) error { return nil }
func (open) Trusts(context.Context, *corev3.Node) bool  { return true }
func (open) Closing() (<-chan struct{}, error)          { return nil, nil }

func TestClientThatFloodsTheServerWithReportsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reports = 1000
		says := make([]*load_statsv3.LoadStatsRequest, 1+reports)
		for i := range says {
			says[i] = &load_statsv3.LoadStatsRequest{}
		}
		says[0].Node = &corev3.Node{Id: "one"}
		ctx, cancel := context.WithCancel(t.Context())
		began, seen := time.Now(), 0
		handler := New(open{}, time.Second, func(resource.LoadReport) {
			if seen++; seen == reports {
				cancel()
			}
		})
		if err := handler.StreamLoadStats(&script{ctx: ctx, says: says}); err != nil {
			t.Error(err)
		}
		if took, want := time.Since(began), (reports-2*reportsPerSecond)*time.Second/reportsPerSecond; took < want-time.Millisecond ||
			took > want+10*time.Millisecond {
			t.Errorf("%d reports were taken in %v, want %v", reports, took, want)
		}
	})
}

func TestLoadStreamWithoutARequestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		handler := New(open{}, time.Second, func(r resource.LoadReport) { t.Errorf("a report: %+v", r) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel() // as gRPC does when a handler has returned
		if err := handler.StreamLoadStats(&script{ctx: ctx}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(began); took < helloTimeout || took > helloTimeout+time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestReportsOfAnUnknownIntervalAreAboutTheTimeSinceTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		handler := New(open{}, time.Second, func(r resource.LoadReport) {
			if got = append(got, r.Interval); !r.Ended {
				time.Sleep(3 * time.Second)
			}
			if len(got) == 3 {
				cancel()
			}
		})
		node := &corev3.Node{Id: "one"}
		if err := handler.StreamLoadStats(&script{ctx: ctx, says: []*load_statsv3.LoadStatsRequest{{Node: node}, {}, {}, {}}}); err != nil {
			t.Error(err)
		}
		if len(got) != 4 || got[0] != time.Millisecond || got[1] != 3*time.Second || got[2] != 3*time.Second || got[3] != 0 {
			t.Errorf("intervals %v", got)
		}
	})
}
