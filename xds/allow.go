package xds

import (
	"context"
	"maps"
	"net"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
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

// permit asks whether a stream may begin. Every stream asks at its first request, whatever service it is of, and the answer
// holds until the stream ends; each inspection asks anew.
func (s *Server) permit(ctx context.Context, role string, node *corev3.Node) error {
	if s.options.Allow == nil {
		return nil
	}
	c := callerOf(ctx, role, node)
	err := s.options.Allow(c)
	if err == nil {
		return nil
	}
	if s.denials.count(role, err.Error()) {
		s.options.Logger.Warn("a client was turned away", "role", role, "client", c.Node, "address", c.Address, "error", err)
	}
	return status.Error(codes.PermissionDenied, err.Error())
}

// trusts is whether what a client reports counts, and whether it may ask for what it cannot name.
func (s *Server) trusts(ctx context.Context, node *corev3.Node) bool {
	return s.options.Trust == nil || s.options.Trust(callerOf(ctx, RoleName(roleOf(node.GetCluster())), node))
}

// callerOf is who is at the other end of a stream.
func callerOf(ctx context.Context, role string, node *corev3.Node) Caller {
	c := Caller{Role: role, Node: node.GetId()}
	if p, ok := peer.FromContext(ctx); ok {
		c.Address, c.Identities = p.Addr, identitiesOf(p.AuthInfo)
	}
	return c
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

// maxSaid bounds how many refusals are logged: a client that is turned away comes again every few seconds, and could do so under
// ever new names.
const maxSaid = 1000

// denials are the streams that were turned away.
type denials struct {
	mu     sync.Mutex
	byRole map[string]uint64
	said   map[string]struct{}
}

// count reports whether such a refusal has not been logged yet.
func (d *denials) count(role, text string) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byRole == nil {
		d.byRole, d.said = map[string]uint64{}, map[string]struct{}{}
	}
	d.byRole[role]++
	if _, ok := d.said[text]; ok || len(d.said) >= maxSaid {
		return false
	}
	d.said[text] = struct{}{}
	return true
}

func (d *denials) counts() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.byRole)
}
