package xds

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Limits on what clients send.
const (
	maxRequest   = 16 << 20         // bytes of one request: 100,000 names and versions fit
	maxStreams   = 128              // streams of one connection
	maxNodeID    = 1024             // bytes
	maxType      = 256              // bytes of a type URL
	inboxSize    = 64               // requests that wait for the writer before the client is made to
	maxNacks     = 10               // refusals a second, with bursts of twice that, before the client is made to wait
	helloTimeout = 30 * time.Second // for the first request of a stream
	closeTimeout = time.Second      // for streams to end

	// A client that has said nothing for so long is asked whether it is there, and is gone if it does not answer. An activator that
	// hangs has to be known within seconds, since requests go there; and it costs little, for most clients report load every second.
	silence       = 3 * time.Second
	answerTimeout = 4 * time.Second
)

var errClosing = status.Error(codes.Unavailable, "the control plane is stopping")

// Server serves one state to many clients.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	load_statsv3.UnimplementedLoadReportingServiceServer
	statusv3.UnimplementedClientStatusDiscoveryServiceServer

	options  Options
	store    *store
	progress *progress
	counters counters
	denials  denials

	waiting     atomic.Pointer[string] // for what, while nothing is served
	loadStreams atomic.Uint64          // so far
	streams     atomic.Uint64          // of resources, so far
	inspections chan struct{}          // holds a token for each inspection that is under way
	ctx         context.Context        // ends with Close
	cancel      context.CancelFunc

	mu      sync.Mutex
	closed  bool
	open    int
	running sync.WaitGroup
}

type counters struct {
	requests, loads, loadsDropped atomic.Uint64
	kinds                         []kindCounters // by rank
}

// New makes a server that serves nothing (streams wait) until the first Apply. Close it.
func New(options Options) *Server {
	options = options.withDefaults()
	s := &Server{options: options, store: newStore(options.Wait), inspections: make(chan struct{}, maxInspections)}
	s.counters.kinds = make([]kindCounters, len(kinds))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.progress = newProgress(s.store, s.options)
	s.store.news = s.progress.signal
	s.running.Go(func() { s.progress.run(s.ctx) })
	return s
}

// Register adds the aggregated discovery service, those of single types, and those of load reports and client status to a gRPC
// server, which must have been made with ServerOptions: responses are encoded by it.
func (s *Server) Register(to *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(to, s)
	for _, v := range services {
		to.RegisterService(v.describe(), s)
	}
	load_statsv3.RegisterLoadReportingServiceServer(to, s)
	statusv3.RegisterClientStatusDiscoveryServiceServer(to, s)
}

// Apply makes a new state out of the last one and returns its sequence number, the first being 1. A client never sees half
// of an update. It costs what the update holds, not what the state holds.
func (s *Server) Apply(u Update) uint64 {
	seq := s.store.apply(u)
	s.progress.signal()
	return seq
}

// Waiting says for what the first Apply waits, in words such as "2 of 40 objects: …": whoever asks for the status of clients before
// it is told that in a FAILED_PRECONDITION.
func (s *Server) Waiting(what string) { s.waiting.Store(&what) }

// incomplete is the error of a question for what clients have that comes before there is anything to have.
func (s *Server) incomplete() error {
	select {
	case <-s.store.ready:
		return nil
	default:
	}
	if what := s.waiting.Load(); what != nil && *what != "" {
		return status.Errorf(codes.FailedPrecondition, "nothing is served yet, and gateways go on with what they had: waiting for %s", *what)
	}
	return nil
}

// Close ends all streams and returns when they are gone. One that is held up in sending to a client that does not read ends
// with its connection, when the gRPC server stops; Close does not wait for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	gone := make(chan struct{})
	go func() {
		s.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(closeTimeout):
	}
}

// ServerOptions are limits for the gRPC server that carries a Server: how much a client may send, how many streams it may
// open, and how soon one that is gone is noticed.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: answerTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
	}
}

// DeltaAggregatedResources serves one incremental stream; gRPC calls it.
func (s *Server) DeltaAggregatedResources(stream deltaStream) error {
	return s.serve(stream.Context(), deltaWire{stream})
}

// StreamAggregatedResources serves one state-of-the-world stream; gRPC calls it.
func (s *Server) StreamAggregatedResources(stream sotwStream) error {
	return s.serve(stream.Context(), sotwWire{stream})
}

// serve runs a stream to its end.
func (s *Server) serve(ctx context.Context, w wire) error {
	if err := s.admit(); err != nil {
		return err
	}
	defer s.dismiss()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errClosing) })()

	inbox := make(chan *request, inboxSize)
	heard := new(atomic.Int64)
	go func() { cancel(s.listen(ctx, w, inbox, heard)) }()
	err := s.converse(ctx, w, inbox, heard)
	if err == nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// converse waits for the first request and the first state, and then runs the stream.
func (s *Server) converse(ctx context.Context, w wire, inbox <-chan *request, heard *atomic.Int64) error {
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	var first *request
	select {
	case first = <-inbox:
	case <-hello.C:
		return status.Errorf(codes.DeadlineExceeded, "no request within %v of opening the stream", helloTimeout)
	case <-ctx.Done():
		return nil
	}
	if err := s.permit(ctx, RoleName(roleOf(first.node.GetCluster())), first.node); err != nil {
		return err
	}
	defer s.introduce(first.node)()
	select {
	case <-s.store.ready:
	case <-ctx.Done():
		return nil
	}
	st := newStream(s, w, first.node, heard)
	st.namesOnly = !s.trusts(ctx, first.node)
	s.join(st)
	defer s.part(st)
	return st.run(ctx, first, inbox)
}

// listen is a stream's reader. It passes requests on until the stream ends, and makes a client wait that refuses too often.
func (s *Server) listen(ctx context.Context, w wire, inbox chan<- *request, heard *atomic.Int64) error {
	nacks := rate.NewLimiter(maxNacks, 2*maxNacks)
	for {
		r, err := w.receive()
		if err != nil {
			return err
		}
		heard.Store(time.Now().UnixNano())
		switch {
		case r.url == "" || len(r.url) > maxType:
			return status.Errorf(codes.InvalidArgument, "type_url has %d bytes; 1 to %d are taken", len(r.url), maxType)
		case len(r.node.GetId()) > maxNodeID:
			return status.Errorf(codes.InvalidArgument, "node.id has %d bytes; at most %d are taken", len(r.node.GetId()), maxNodeID)
		}
		if r.refusal != nil {
			if err := nacks.Wait(ctx); err != nil {
				return err
			}
		}
		select {
		case inbox <- r:
			s.counters.requests.Add(1)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosing
	}
	if s.open >= s.options.MaxStreams {
		return status.Errorf(codes.ResourceExhausted, "all %d streams are taken", s.options.MaxStreams)
	}
	s.open++
	s.running.Add(1)
	return nil
}

func (s *Server) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.running.Done()
}

func (s *Server) join(st *stream) {
	s.store.mu.Lock()
	s.store.streams[roleIndex(st.role)][st] = struct{}{}
	if !st.alone {
		s.store.lag(st, 1, time.Now()) // until it has said what it has
	}
	s.store.mu.Unlock()
	st.logger.Debug("client connected")
	s.progress.signal()
}

func (s *Server) part(st *stream) {
	st.leave()
	close(st.seen.ended)
	s.store.mu.Lock()
	delete(s.store.streams[roleIndex(st.role)], st)
	delete(s.store.lagging[roleIndex(st.role)], st)
	s.store.mu.Unlock()
	st.logger.Debug("client gone")
	s.progress.signal()
}
