package xds

import (
	"context"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// roleStatus is the role, to Options.Allow alone, of who reads what clients have instead of being one.
const roleStatus = "status"

// Caller is who wants to begin a stream: what it says of itself, and what its connection proves.
type Caller struct {
	Role    string   // gateway, activator or mesh; or "status" for reading what clients have
	Node    string   // node id
	Address net.Addr // of its end of the connection; nil if that is not known
	// Identities are the URIs and DNS names of its certificate, if it has one that the server's authorities have signed.
	Identities []string
}

// permit asks whether a stream may begin. Every stream asks at its first request, whatever service it is of; the answer holds
// until the stream ends.
func (s *Server) permit(ctx context.Context, role string, node *corev3.Node) error {
	if s.options.Allow == nil {
		return nil
	}
	c := Caller{Role: role, Node: node.GetId()}
	if p, ok := peer.FromContext(ctx); ok {
		c.Address, c.Identities = p.Addr, identitiesOf(p.AuthInfo)
	}
	err := s.options.Allow(c)
	if err == nil {
		return nil
	}
	s.denials.count(role)
	return status.Error(codes.PermissionDenied, err.Error())
}

// identitiesOf is what a connection proves. Only chains that were verified count: a server that does not verify knows nobody.
func identitiesOf(info credentials.AuthInfo) []string {
	secure, ok := info.(credentials.TLSInfo)
	if !ok || len(secure.State.VerifiedChains) == 0 {
		return nil
	}
	leaf := secure.State.VerifiedChains[0][0]
	identities := make([]string, 0, len(leaf.URIs)+len(leaf.DNSNames))
	for _, u := range leaf.URIs {
		identities = append(identities, u.String())
	}
	return append(identities, leaf.DNSNames...)
}
