package xds

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

// converse runs a script to its end; a stream's context ends when its handler has returned.
func converse(options Options, says ...*load_statsv3.LoadStatsRequest) error {
	server := New(options)
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return server.StreamLoadStats(&script{ctx: ctx, says: says})
}

func TestClientThatFloodsTheServerWithReportsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reports = 1000
		says := make([]*load_statsv3.LoadStatsRequest, 1+reports)
		for i := range says {
			says[i] = &load_statsv3.LoadStatsRequest{}
		}
		says[0].Node = &corev3.Node{Id: "one"}
		ctx, cancel := context.WithCancel(t.Context())
		server, began, seen := New(Options{}), time.Now(), 0
		server.options.Loads = func(LoadReport) {
			if seen++; seen == reports {
				cancel()
			}
		}
		if err := server.StreamLoadStats(&script{ctx: ctx, says: says}); err != nil {
			t.Error(err)
		}
		server.Close()
		if took, want := time.Since(began), (reports-2*loadsASecond)*time.Second/loadsASecond; took < want-time.Millisecond || took > want+10*time.Millisecond {
			t.Errorf("%d reports were taken in %v, want %v", reports, took, want)
		}
	})
}

func TestLoadStreamWithoutAWordEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := converse(Options{Loads: func(r LoadReport) { t.Errorf("a report: %+v", r) }}); status.Code(err) != codes.DeadlineExceeded {
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
		server := New(Options{Loads: func(r LoadReport) {
			if got = append(got, r.Interval); !r.Ended {
				time.Sleep(3 * time.Second)
			}
			if len(got) == 3 {
				cancel()
			}
		}})
		node := &corev3.Node{Id: "one"}
		if err := server.StreamLoadStats(&script{ctx: ctx, says: []*load_statsv3.LoadStatsRequest{{Node: node}, {}, {}, {}}}); err != nil {
			t.Error(err)
		}
		server.Close()
		if len(got) != 4 || got[0] != time.Millisecond || got[1] != 3*time.Second || got[2] != 3*time.Second || got[3] != 0 {
			t.Errorf("intervals %v", got)
		}
	})
}
