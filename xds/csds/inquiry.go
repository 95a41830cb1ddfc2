package csds

import (
	"regexp"
	"strings"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

const (
	// StatusKey is where a client's figures are in its configuration's node.metadata. The metadata of the node that asks may have it
	// too: with {"resources": false} the answer has the figures and counts alone.
	StatusKey = "sluice.dev/status"
	// DesiredPrefix with the name of a role is the node_id of a client that stands for what the role is offered. The answer has it only
	// if the request names it exactly.
	DesiredPrefix = "sluice.dev/desired/"
	// DesiredScope is the client_scope of such a client, which differs from that of a real client with the same node_id.
	DesiredScope = "desired"
)

const (
	maxMatchers = 20_000 // enough to name all clients that there may be
	maxPatterns = 100    // those of them that are not exact
	maxPattern  = 1024   // bytes
)

// inquiry is what a request asks for.
type inquiry struct {
	all      bool                   // all clients; else those of named and matchers
	named    map[string]bool        // by node id
	matchers []func(id string) bool // of node ids
	desired  []uint8                // roles
	contents bool                   // resources with their contents
	counts   bool                   // no resources, only how many
}

func (q inquiry) matches(id string) bool {
	if q.all || q.named[id] {
		return true
	}
	for _, matches := range q.matchers {
		if matches(id) {
			return true
		}
	}
	return false
}

func readInquiry(r *statusv3.ClientStatusRequest) (inquiry, error) {
	q := inquiry{contents: !r.GetExcludeResourceContents(), all: len(r.GetNodeMatchers()) == 0, named: map[string]bool{}}
	own := r.GetNode().GetMetadata().GetFields()[StatusKey].GetStructValue().GetFields()
	if wanted, ok := own["resources"].GetKind().(*structpb.Value_BoolValue); ok {
		q.counts = !wanted.BoolValue
	}
	if n := len(r.GetNodeMatchers()); n > maxMatchers {
		return q, status.Errorf(codes.InvalidArgument, "node_matchers has %d entries; at most %d are taken", n, maxMatchers)
	}
	for _, m := range r.GetNodeMatchers() {
		if len(m.GetNodeMetadatas()) > 0 || m.GetNodeId() == nil {
			return q, status.Error(codes.InvalidArgument,
				"a node matcher without node_id, or with node_metadatas, is not taken: match node_id")
		}
		if err := q.match(m.GetNodeId()); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (q *inquiry) match(m *matcherv3.StringMatcher) error {
	if exact, ok := m.GetMatchPattern().(*matcherv3.StringMatcher_Exact); ok && !m.GetIgnoreCase() {
		q.named[exact.Exact] = true
		if role, ok := desiredRole(exact.Exact); ok {
			q.desired = append(q.desired, role)
		}
		return nil
	}
	matches, err := idMatcher(m)
	if err != nil {
		return err
	}
	if q.matchers = append(q.matchers, matches); len(q.matchers) > maxPatterns {
		return status.Errorf(codes.InvalidArgument, "node_matchers has more than %d entries that are not exact", maxPatterns)
	}
	return nil
}

// desiredRole is the role whose offered resources a node id stands for.
func desiredRole(id string) (uint8, bool) {
	name, ok := strings.CutPrefix(id, DesiredPrefix)
	if !ok {
		return 0, false
	}
	for role := range resource.EachRole(resource.AllRoles) {
		if contract.RoleName(role) == name {
			return role, true
		}
	}
	return 0, false
}

func idMatcher(m *matcherv3.StringMatcher) (func(string) bool, error) {
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = strings.ToLower
	}
	with := func(test func(id, pattern string) bool, pattern string) (func(string) bool, error) {
		if len(pattern) > maxPattern {
			return nil, tooLong(pattern)
		}
		pattern = fold(pattern)
		return func(id string) bool { return test(fold(id), pattern) }, nil
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return with(func(id, pattern string) bool { return id == pattern }, p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return with(strings.HasPrefix, p.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		return with(strings.HasSuffix, p.Suffix)
	case *matcherv3.StringMatcher_Contains:
		return with(strings.Contains, p.Contains)
	case *matcherv3.StringMatcher_SafeRegex:
		return regexMatcher(p.SafeRegex.GetRegex())
	default:
		return nil, status.Error(codes.InvalidArgument,
			"a node_id matcher is exact, prefix, suffix, contains or safe_regex; others are not taken")
	}
}

func tooLong(pattern string) error {
	return status.Errorf(codes.InvalidArgument, "a node_id matcher has %d bytes; at most %d are taken", len(pattern), maxPattern)
}

// regexMatcher takes an expression of RE2 that must match the whole id.
func regexMatcher(pattern string) (func(string) bool, error) {
	if len(pattern) > maxPattern {
		return nil, tooLong(pattern)
	}
	expression, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "safe_regex %q is no regular expression of RE2: %v", pattern, err)
	}
	return expression.MatchString, nil
}
