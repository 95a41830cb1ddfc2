package lrs

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// Limits on streams.
const (
	helloTimeout     = 30 * time.Second // for the first request of a stream
	reportsPerSecond = 200              // reports of one stream, with bursts of twice that, before the client is made to wait
)

// Gate decides which streams there may be.
type Gate interface {
	// Enter takes a place for a stream until leave is called. Its error is that of the stream.
	Enter() (leave func(), err error)
	// Permit is whether a client may open a stream. Its error is that of the stream.
	Permit(ctx context.Context, node *corev3.Node) error
	// Trusts is whether the reports of a client count.
	Trusts(ctx context.Context, node *corev3.Node) bool
	// Closing ends all streams with an error.
	Closing() (<-chan struct{}, error)
}

// Handler serves load reports. Make it with New.
type Handler struct {
	load_statsv3.UnimplementedLoadReportingServiceServer

	// Set once.
	gate     Gate
	interval time.Duration
	loads    func(resource.LoadReport)

	// Any goroutine may change them.
	streams, reports, dropped atomic.Uint64
}

// New makes a handler. It asks clients to report each interval, and calls loads for each report by the goroutine of the client: loads
// must return soon, and may run for several clients at once.
func New(gate Gate, interval time.Duration, loads func(resource.LoadReport)) *Handler {
	return &Handler{gate: gate, interval: interval, loads: loads}
}

// Reports is how many reports came, and how many clusters and zones in them were dropped because their numbers were invalid.
func (h *Handler) Reports() (reports, dropped uint64) { return h.reports.Load(), h.dropped.Load() }

type wire = load_statsv3.LoadReportingService_StreamLoadStatsServer

// stream is one client's stream of load reports. One goroutine (run) owns it.
type stream struct {
	handler *Handler
	grpc    wire
	id      uint64
	begun   chan struct{} // closed when the client has said who it is

	ignored bool // the client's reports do not count
	role    uint8
	client  string
	last    time.Time // when the client reported last, or began
}

// StreamLoadStats takes one client's load reports; gRPC calls it.
func (h *Handler) StreamLoadStats(grpc wire) error {
	leave, err := h.gate.Enter()
	if err != nil {
		return err
	}
	s := &stream{handler: h, grpc: grpc, begun: make(chan struct{}), id: h.streams.Add(1)}
	ended := make(chan error, 1)
	go func() {
		defer leave()
		ended <- s.run()
	}()
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	begun := s.begun
	closing, errClosing := h.gate.Closing()
	for {
		// gRPC ends the stream, and with it run, when this returns.
		select {
		case <-begun:
			hello.Stop()
			begun = nil
		case <-hello.C:
			return status.Errorf(codes.DeadlineExceeded, "no request within %v of opening the stream", helloTimeout)
		case err := <-ended:
			return err
		case <-closing:
			return errClosing
		}
	}
}

// run answers the first request, and passes all reports on until the stream ends.
func (s *stream) run() error {
	first, err := s.grpc.Recv()
	if err != nil {
		return nil
	}
	if err := s.greet(first.GetNode()); err != nil {
		return err
	}
	close(s.begun)
	if !s.ignored {
		defer s.report(resource.LoadReport{Ended: true})
	}
	if len(first.GetClusterStats()) > 0 {
		s.take(first)
	}
	pace := rate.NewLimiter(reportsPerSecond, 2*reportsPerSecond)
	for {
		r, err := s.grpc.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := pace.Wait(s.grpc.Context()); err != nil {
			return err
		}
		s.take(r)
	}
}

// greet records who the client is, and asks it for reports.
func (s *stream) greet(node *corev3.Node) error {
	if n := len(node.GetId()); n > resource.MaxNodeID {
		return status.Errorf(codes.InvalidArgument, "node.id has %d bytes; at most %d are taken", n, resource.MaxNodeID)
	}
	gate := s.handler.gate
	if err := gate.Permit(s.grpc.Context(), node); err != nil {
		return err
	}
	s.role, s.client, s.last = contract.RoleOf(node.GetCluster()), node.GetId(), time.Now()
	if !gate.Trusts(s.grpc.Context(), node) {
		// To refuse the stream would have a gRPC client open it again and again.
		s.ignored = true
		return s.grpc.Send(&load_statsv3.LoadStatsResponse{LoadReportingInterval: durationpb.New(maxInterval)})
	}
	return s.grpc.Send(&load_statsv3.LoadStatsResponse{
		SendAllClusters: true, LoadReportingInterval: durationpb.New(s.handler.interval),
	})
}

func (s *stream) take(r *load_statsv3.LoadStatsRequest) {
	if s.ignored {
		return
	}
	now := time.Now()
	report, dropped := read(r, max(now.Sub(s.last), time.Millisecond)) // so that nobody divides by 0
	s.last = now
	s.handler.reports.Add(1)
	s.handler.dropped.Add(uint64(dropped))
	s.report(report)
}

func (s *stream) report(r resource.LoadReport) {
	r.Role, r.Client, r.Stream = s.role, s.client, s.id
	s.handler.loads(r)
}
