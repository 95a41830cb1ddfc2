package xds

import (
	"google.golang.org/grpc"
)

// Server serves one state to many clients.
type Server struct {
	options Options
}

// New makes a server that serves nothing (streams wait) until the first Apply.
func New(options Options) *Server { return &Server{options: options.withDefaults()} }

// Register adds the aggregated discovery service to a gRPC server, which should have been made with ServerOptions.
func (s *Server) Register(*grpc.Server) {}

// Apply makes a new state out of the last one and returns its sequence number, the first being 1. A client never sees half
// of an update. It costs what the update holds, not what the state holds.
func (s *Server) Apply(Update) uint64 { return 0 }

// Stats returns the counters.
func (s *Server) Stats() Stats { return Stats{} }

// Close ends all streams and returns when they are gone.
func (s *Server) Close() {}

// ServerOptions are limits for the gRPC server that carries a Server.
func ServerOptions() []grpc.ServerOption { return nil }
