package xds

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/lrs"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// Limits on what clients send.
const (
	maxRequest   = 16 << 20         // bytes of one request: 100,000 names and versions fit
	maxStreams   = 128              // streams of one connection
	maxType      = 256              // bytes of a type URL
	inboxSize    = 64               // requests that wait for the writer before the client is made to
	maxNacks     = 10               // NACKs a second, with bursts of twice that, before the client is made to wait
	helloTimeout = 30 * time.Second // for the first request of a stream
	closeTimeout = time.Second      // for streams to end

	// The server pings a client that has been silent for so long, and closes its connection if the client does not answer. It has to
	// notice within seconds that an activator hangs, because requests go there. That costs little: most clients report load every second.
	silence       = 3 * time.Second
	answerTimeout = 4 * time.Second
)

var errClosing = status.Error(codes.Unavailable, "the control plane is stopping")

// Server serves one state to many clients.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	// Set once.
	options  Options
	hub      *session.Hub
	reporter *reporter
	loads    *lrs.Handler
	status   *csds.Handler
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	// Any goroutine may change them.
	waiting  atomic.Pointer[string] // what the first Apply waits for
	numbered atomic.Uint64          // streams of resources so far
	requests atomic.Uint64
	denials  denials
	running  sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	closed  bool
	open    int                // streams and questions that are open
	serving map[*conn]struct{} // streams of resources that have begun
}

// New makes a server that serves nothing (streams wait) until the first Apply. Close it.
func New(options Options) *Server {
	options = options.withDefaults()
	s := &Server{options: options, reporter: newReporter(options), serving: map[*conn]struct{}{}}
	s.hub = session.NewHub(session.Options{
		Logger: options.Logger, Nacked: options.Nacked, Wait: options.Wait, Settle: options.Settle,
		MaxNames: options.MaxNames, Memory: options.Memory, Notify: s.reporter.signal,
	})
	s.loads = lrs.New(gate{s, clientRole}, options.LoadInterval, options.Loads)
	s.status = csds.New(gate{s, statusRole}, source{s})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(func() { s.reporter.run(s.ctx, s.hub) })
	return s
}

// Register adds the aggregated discovery service, those of single types, and those of load reports and client status to a gRPC
// server. It must have been made with ServerOptions, which has the codec for the responses.
func (s *Server) Register(to grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(to, s)
	for _, v := range services {
		to.RegisterService(v.describe(), s)
	}
	load_statsv3.RegisterLoadReportingServiceServer(to, s.loads)
	statusv3.RegisterClientStatusDiscoveryServiceServer(to, s.status)
}

// Apply makes a new state out of the last one and returns its sequence number, the first being 1. A client never sees half of an
// update. Apply costs what the update holds, not what the state holds.
func (s *Server) Apply(u resource.Update) uint64 {
	seq := s.hub.Apply(u, time.Now())
	s.reporter.signal()
	return seq
}

// Waiting says what the first Apply waits for, in words such as "2 of 40 objects: …". Until it comes, a question for the status of
// clients is answered with them, as FAILED_PRECONDITION.
func (s *Server) Waiting(what string) { s.waiting.Store(&what) }

// Close ends all streams and returns when they are gone. It does not wait for a stream that is held up in sending to a client that
// does not read: that ends with its connection, when the gRPC server stops.
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

// ServerOptions are limits for the gRPC server that carries a Server: how much a client may send, how many streams it may open, and
// how soon the server notices that one is gone.
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

// enter takes a place for a stream or question until leave is called.
func (s *Server) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	if s.open >= s.options.MaxStreams {
		return nil, status.Errorf(codes.ResourceExhausted, "all %d streams are taken", s.options.MaxStreams)
	}
	s.open++
	s.running.Add(1)
	return s.leave, nil
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.running.Done()
}

// source is what csds answers with.
type source struct{ *Server }

// Complete implements csds.Source.
func (s source) Complete() error {
	select {
	case <-s.hub.Ready():
		return nil
	default:
	}
	if what := s.waiting.Load(); what != nil && *what != "" {
		return status.Errorf(codes.FailedPrecondition,
			"nothing is served yet, and gateways go on with what they had: waiting for %s", *what)
	}
	return nil
}

// Clients implements csds.Source.
func (s source) Clients() []csds.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	clients := make([]csds.Client, 0, len(s.serving))
	for c := range s.serving {
		clients = append(clients, c)
	}
	return clients
}

// Offered implements csds.Source.
func (s source) Offered(role uint8) ([]offer.Offer, uint64) { return s.hub.Offered(role) }
