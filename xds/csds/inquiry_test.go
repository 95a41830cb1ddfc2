package csds

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

func matcher(kind, pattern string, fold bool) *matcherv3.StringMatcher {
	m := &matcherv3.StringMatcher{IgnoreCase: fold}
	switch kind {
	case "exact":
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: pattern}
	case "prefix":
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: pattern}
	case "suffix":
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: pattern}
	case "contains":
		m.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: pattern}
	case "regex":
		m.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pattern}}
	}
	return m
}

func TestNodesAreMatchedByTheirIDs(t *testing.T) {
	for name, c := range map[string]struct {
		matchers []*matcherv3.StringMatcher
		yes, no  []string
	}{
		"none matches all":   {nil, []string{"a", ""}, nil},
		"exact":              {[]*matcherv3.StringMatcher{matcher("exact", "a", false)}, []string{"a"}, []string{"A", "ab"}},
		"exact without case": {[]*matcherv3.StringMatcher{matcher("exact", "aB", true)}, []string{"Ab", "ab"}, []string{"abc"}},
		"prefix": {[]*matcherv3.StringMatcher{matcher("prefix", "gw-", false)}, []string{"gw-1"},
			[]string{"GW-1", "a-gw-1"}},
		"prefix without case": {[]*matcherv3.StringMatcher{matcher("prefix", "GW-", true)}, []string{"gw-1"}, []string{"a-gw-1"}},
		"suffix":              {[]*matcherv3.StringMatcher{matcher("suffix", "-1", false)}, []string{"gw-1"}, []string{"gw-12"}},
		"contains":            {[]*matcherv3.StringMatcher{matcher("contains", "w-", false)}, []string{"gw-1"}, []string{"gw1"}},
		"a regex matches whole": {[]*matcherv3.StringMatcher{matcher("regex", "gw-[0-9]|x", false)}, []string{"gw-1", "x"},
			[]string{"gw-12", "ax"}},
		"one of several": {
			[]*matcherv3.StringMatcher{matcher("exact", "a", false), matcher("suffix", "z", false)}, []string{"a", "xyz"}, []string{"b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := readInquiry(nodes(c.matchers...))
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range c.yes {
				if !q.matches(id) {
					t.Errorf("%q does not match", id)
				}
			}
			for _, id := range c.no {
				if q.matches(id) {
					t.Errorf("%q matches", id)
				}
			}
		})
	}
}

func TestQuestionsThatAreNotTakenAreNamed(t *testing.T) {
	many := func(kind string, n int) *statusv3.ClientStatusRequest {
		r := &statusv3.ClientStatusRequest{}
		for range n {
			r.NodeMatchers = append(r.NodeMatchers, &matcherv3.NodeMatcher{NodeId: matcher(kind, "a", false)})
		}
		return r
	}
	metadata := nodes(exactly("a"))
	metadata.NodeMatchers[0].NodeMetadatas = []*matcherv3.StructMatcher{{}}
	for name, c := range map[string]struct {
		request *statusv3.ClientStatusRequest
		want    string
	}{
		"metadata":                   {metadata, "node_metadatas"},
		"no node id":                 {&statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{{}}}, "without node_id"},
		"another kind of pattern":    {nodes(&matcherv3.StringMatcher{}), "exact, prefix, suffix, contains or safe_regex"},
		"no regular expression":      {nodes(matcher("regex", "(", false)), `safe_regex "("`},
		"a long pattern":             {nodes(matcher("prefix", strings.Repeat("a", maxPattern+1), false)), "has 1025 bytes"},
		"a long regular expression":  {nodes(matcher("regex", strings.Repeat("a", maxPattern+1), false)), "has 1025 bytes"},
		"too many":                   {many("exact", maxMatchers+1), "20001 entries"},
		"too many that are no names": {many("prefix", maxPatterns+1), "more than 100 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readInquiry(c.request)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want InvalidArgument with %q", err, c.want)
			}
		})
	}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSecretsAreNotShownWhereverTheyAre(t *testing.T) {
	inline := func(text string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	}
	pair := &tlsv3.TlsCertificate{CertificateChain: inline("public"), PrivateKey: inline("private")}
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{pair}}}
	secret := &tlsv3.Secret{Name: "s", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: pair}}
	nested := &corev3.TypedExtensionConfig{Name: "in an Any", TypedConfig: packed(t, context)}
	unknown := &corev3.TypedExtensionConfig{Name: "of a type that nobody knows", TypedConfig: &anypb.Any{
		TypeUrl: "type.googleapis.com/nobody.knows.This", Value: []byte("private"),
	}}
	r := newRedactor()
	for name, m := range map[string]proto.Message{"a message": secret, "a list": context, "an Any": nested, "an unknown type": unknown} {
		t.Run(name, func(t *testing.T) {
			whole := packed(t, m)
			shown := r.show(offer.NewEntry(&resource.Resource{
				Type: whole.TypeUrl, Name: "x", Version: "1", Body: whole.Value, Roles: contract.RoleGateway,
			}))
			if shown == nil || strings.Contains(string(shown.Value), "private") {
				t.Errorf("shown is %v", shown)
			}
			if name != "an unknown type" &&
				(!strings.Contains(string(shown.GetValue()), "public") || !strings.Contains(string(shown.GetValue()), Redacted)) {
				t.Error("what is no secret is not shown, or nothing says that there is one")
			}
			if !strings.Contains(string(whole.Value), "private") {
				t.Error("the resource itself has changed")
			}
		})
	}
	if shown := r.show(offer.NewClaimed(resource.SecretType, "s", "1")); shown != nil {
		t.Errorf("content that the server does not know is shown as %v", shown)
	}
	broken := &resource.Resource{Type: resource.SecretType, Name: "s", Version: "1", Body: []byte("private"), Roles: contract.RoleGateway}
	if shown := r.show(offer.NewEntry(broken)); shown != nil {
		t.Errorf("a body that cannot be read is shown as %v", shown)
	}
}
