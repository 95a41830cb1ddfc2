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

	"sluice.dev/sluice/contract"
)

// statusRole is the role that Options.Allow sees of a caller that asks what clients have, instead of being one.
const statusRole = "status"

// clientRole stands for the role that a client gives.
const clientRole = ""

// gate decides which streams there may be, for lrs and csds.
type gate struct {
	*Server
	role string // of the callers: statusRole, or clientRole
}

// Enter implements lrs.Gate and csds.Gate.
func (g gate) Enter() (leave func(), err error) { return g.enter() }

// Permit implements lrs.Gate and csds.Gate.
func (g gate) Permit(ctx context.Context, node *corev3.Node) error {
	if g.role != clientRole {
		return g.permit(ctx, g.role, node)
	}
	return g.permit(ctx, contract.RoleName(contract.RoleOf(node.GetCluster())), node)
}

// Trusts implements lrs.Gate.
func (g gate) Trusts(ctx context.Context, node *corev3.Node) bool { return g.trusts(ctx, node) }

// Closing implements lrs.Gate and csds.Gate.
func (g gate) Closing() (<-chan struct{}, error) { return g.ctx.Done(), errClosing }

// Caller is who opens a stream: what it says of itself, and what its connection proves.
type Caller struct {
	Role    string   // gateway, activator or mesh; or "status" for a question what clients have
	Node    string   // node id
	Address net.Addr // of its end of the connection; nil if unknown
	// Identities are the URIs and DNS names of its certificate, if the server's authorities have signed it.
	Identities []string
}

// permit is whether a stream may begin. Every stream of every service asks at its first request, and the answer holds until the
// stream ends. Each inspection asks again.
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

// trusts is whether a client's load reports count, and whether it may subscribe to everything of a type.
func (s *Server) trusts(ctx context.Context, node *corev3.Node) bool {
	return s.options.Trust == nil || s.options.Trust(callerOf(ctx, contract.RoleName(contract.RoleOf(node.GetCluster())), node))
}

// callerOf is the caller at the other end of a stream.
func callerOf(ctx context.Context, role string, node *corev3.Node) Caller {
	c := Caller{Role: role, Node: node.GetId()}
	if p, ok := peer.FromContext(ctx); ok {
		c.Address, c.Identities = p.Addr, identitiesOf(p.AuthInfo)
	}
	return c
}

// identitiesOf is what a connection proves. Only verified chains count, so a server that does not verify certificates knows no
// identity.
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

// maxLoggedDenials bounds how many denials are logged: a client that is denied comes again every few seconds, and could use a new name
// each time.
const maxLoggedDenials = 1000

// denials are the streams that were turned away.
type denials struct {
	mu sync.Mutex
	// Guarded by mu.
	byRole map[string]uint64
	logged map[string]struct{} // by text
}

// count counts a denial, and reports whether it has not been logged yet.
func (d *denials) count(role, text string) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byRole == nil {
		d.byRole, d.logged = map[string]uint64{}, map[string]struct{}{}
	}
	d.byRole[role]++
	if _, ok := d.logged[text]; ok || len(d.logged) >= maxLoggedDenials {
		return false
	}
	d.logged[text] = struct{}{}
	return true
}

func (d *denials) counts() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.byRole)
}
