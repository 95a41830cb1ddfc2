package translator

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// Headers to match, in lower case: gRPC compares a name with the keys of its metadata byte by byte.
var (
	tagHeader    = strings.ToLower(contract.TagHeader)
	reasonHeader = strings.ToLower(contract.ReasonHeader)
)

// virtualHost is a resolved Rule on its way to its virtual hosts.
type virtualHost struct {
	// name is "namespace/route" or "namespace/route/tag".
	name string
	rule model.Rule
	// answerWithin is the time within which its revisions begin a response, or end it themselves; 0 is no bound.
	answerWithin time.Duration
	// http is what becomes of external requests without TLS, httpsPort where HTTPS is reached; 0 is 443.
	http      model.HTTPOption
	httpsPort int
}

func newVirtualHost(route model.Key, rule model.Rule) virtualHost {
	name := route.String()
	if rule.Tag != "" {
		name += "/" + rule.Tag
	}
	return virtualHost{name: name, rule: rule}
}

// gateway is the Rule as a virtual host of a listener of the gateway; nil when no hosts are left.
func (v virtualHost) gateway(listener string, domains []string) *routev3.VirtualHost {
	if len(domains) == 0 {
		return nil
	}
	vh := &routev3.VirtualHost{Name: v.name, Domains: domains}
	if listener != listenerLocal && v.http != "" {
		vh.Routes = append(vh.Routes, v.insecure())
	}
	if len(v.rule.Shares) == 0 && len(v.rule.TagHeader) == 0 {
		vh.Routes = append(vh.Routes, v.unavailable())
		return vh
	}
	vh.RetryPolicy = retryPolicy(v)
	action := func(shares []model.Share) *routev3.RouteAction {
		a := split(shares)
		a.Timeout = durationpb.New(0) // no bound; Envoy's own default is 15 s
		return a
	}
	for _, t := range v.rule.TagHeader {
		match := &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: t.Tag},
		}}
		vh.Routes = append(vh.Routes, &routev3.Route{
			Match:  anyPath(&routev3.HeaderMatcher{Name: tagHeader, HeaderMatchSpecifier: match}),
			Action: &routev3.Route_Route{Route: action(all(t.Revision))},
		})
	}
	if len(v.rule.Shares) == 0 {
		vh.Routes = append(vh.Routes, v.unavailable())
		return vh
	}
	vh.Routes = append(vh.Routes, &routev3.Route{Match: anyPath(), Action: &routev3.Route_Route{Route: action(v.rule.Shares)}})
	return vh
}

// unavailable is the answer for revisions that have not become ready.
func (v virtualHost) unavailable() *routev3.Route {
	return &routev3.Route{Match: anyPath(), Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 503,
		Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
			InlineString: fmt.Sprintf("No revision of Route %s has become ready yet.\n", v.name),
		}},
	}}}
}

// mesh is the Rule as the RouteConfiguration of gRPC clients. Without shares it has no virtual host, because grpc-js rejects every action
// but a route, and C-core rejects a virtual host without routes; in either case calls fail as UNAVAILABLE.
func (v virtualHost) mesh() *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: v.name}
	if len(v.rule.Shares) == 0 {
		return rc
	}
	action := func(shares []model.Share) *routev3.Route_Route { return &routev3.Route_Route{Route: split(shares)} }
	vh := &routev3.VirtualHost{Name: v.name, Domains: []string{"*"}}
	for _, t := range v.rule.TagHeader {
		match := &routev3.HeaderMatcher_ExactMatch{ExactMatch: t.Tag} //nolint:staticcheck // C-core before gRFC A63 refuses string_match
		vh.Routes = append(vh.Routes, &routev3.Route{
			Match:  anyPath(&routev3.HeaderMatcher{Name: tagHeader, HeaderMatchSpecifier: match}),
			Action: action(all(t.Revision)),
		})
	}
	vh.Routes = append(vh.Routes, &routev3.Route{Match: anyPath(), Action: action(v.rule.Shares)})
	rc.VirtualHosts = []*routev3.VirtualHost{vh}
	return rc
}

func anyPath(headers ...*routev3.HeaderMatcher) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: headers}
}

func all(revision model.Key) []model.Share {
	return []model.Share{{Revision: revision, Percent: 100}}
}

// split gives each revision its share, and adds the headers that name the revision to the activator or queue-proxy.
func split(shares []model.Share) *routev3.RouteAction {
	clusters := make([]*routev3.WeightedCluster_ClusterWeight, len(shares))
	for i, s := range shares {
		clusters[i] = &routev3.WeightedCluster_ClusterWeight{
			Name:   s.Revision.String(),
			Weight: wrapperspb.UInt32(uint32(s.Percent)),
			RequestHeadersToAdd: []*corev3.HeaderValueOption{
				overwrite(contract.RevisionHeader, s.Revision.Name),
				overwrite(contract.NamespaceHeader, s.Revision.Namespace),
			},
		}
	}
	return &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{
		WeightedClusters: &routev3.WeightedCluster{Clusters: clusters},
	}}
}

func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
