package xds

import (
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

type loadWire = load_statsv3.LoadReportingService_StreamLoadStatsServer

// loadStream is one client's stream of load reports. One goroutine (run) owns it.
type loadStream struct {
	server *Server
	grpc   loadWire
	begun  chan struct{} // closed when the client has said who it is

	id     uint64
	unread bool // what the client reports is dropped
	role   uint8
	client string
	last   time.Time // when the client reported last, or began
}

// StreamLoadStats takes one client's load reports; gRPC calls it.
func (s *Server) StreamLoadStats(stream loadWire) error {
	if err := s.admit(); err != nil {
		return err
	}
	l := &loadStream{server: s, grpc: stream, begun: make(chan struct{}), id: s.loadStreams.Add(1)}
	ended := make(chan error, 1)
	go func() {
		defer s.dismiss()
		ended <- l.run()
	}()
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	begun := l.begun
	for {
		// Returning ends the stream, and with it run.
		select {
		case <-begun:
			hello.Stop()
			begun = nil
		case <-hello.C:
			return status.Errorf(codes.DeadlineExceeded, "no request within %v of opening the stream", helloTimeout)
		case err := <-ended:
			return err
		case <-s.ctx.Done():
			return errClosing
		}
	}
}

// run answers the first request, and passes all reports on until the stream ends.
func (l *loadStream) run() error {
	first, err := l.grpc.Recv()
	if err != nil {
		return nil
	}
	if err := l.greet(first.GetNode()); err != nil {
		return err
	}
	close(l.begun)
	if !l.unread {
		defer l.tell(LoadReport{Ended: true})
	}
	if len(first.GetClusterStats()) > 0 {
		l.take(first)
	}
	pace := rate.NewLimiter(loadsASecond, 2*loadsASecond)
	for {
		r, err := l.grpc.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := pace.Wait(l.grpc.Context()); err != nil {
			return err
		}
		l.take(r)
	}
}

// greet takes in who the client is and tells it what to report, and how often.
func (l *loadStream) greet(node *corev3.Node) error {
	if n := len(node.GetId()); n > maxNodeID {
		return status.Errorf(codes.InvalidArgument, "node.id has %d bytes; at most %d are taken", n, maxNodeID)
	}
	if err := l.server.permit(l.grpc.Context(), RoleName(roleOf(node.GetCluster())), node); err != nil {
		return err
	}
	l.role, l.client, l.last = roleOf(node.GetCluster()), node.GetId(), time.Now()
	if !l.server.trusts(l.grpc.Context(), node) {
		// A gRPC client that were turned away would come again and again.
		l.unread = true
		return l.grpc.Send(&load_statsv3.LoadStatsResponse{LoadReportingInterval: durationpb.New(maxInterval)})
	}
	return l.grpc.Send(&load_statsv3.LoadStatsResponse{
		SendAllClusters: true, LoadReportingInterval: durationpb.New(l.server.options.LoadInterval),
	})
}

func (l *loadStream) take(r *load_statsv3.LoadStatsRequest) {
	if l.unread {
		return
	}
	now := time.Now()
	report, dropped := loadReport(r, max(now.Sub(l.last), time.Millisecond)) // nobody has to fear a division by 0
	l.last = now
	l.server.counters.loads.Add(1)
	l.server.counters.loadsDropped.Add(uint64(dropped))
	l.tell(report)
}

func (l *loadStream) tell(report LoadReport) {
	report.Role, report.Client, report.Stream = l.role, l.client, l.id
	l.server.options.Loads(report)
}
