package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// virtualHost is a compiled virtual host. It is immutable.
type virtualHost struct {
	name                            string
	domains                         []string // lower case
	routes                          []*route
	requestHeaders, responseHeaders *headerChanges
}

// route is one condition and what to do with the requests that meet it.
type route struct {
	path    pathMatch
	headers []headerMatch
	grpc    bool

	requestHeaders, responseHeaders *headerChanges

	// One of these is set.
	forward  *forward
	redirect *redirect
	direct   *directResponse
}

// forward sends requests to a cluster.
type forward struct {
	// clusters has one entry when there is nothing to choose; total is the sum of the weights.
	clusters []weightedCluster
	total    uint32
	notFound int // the status when the cluster does not exist

	prefixRewrite       string
	hostRewrite         string
	appendForwardedHost bool
	// timeout bounds the response once the request has been received; 0 is no limit. idle and maxDuration are negative when
	// the listener's value holds.
	timeout, idle, maxDuration time.Duration
	retry                      retryPolicy
	upgrades                   map[string]bool // lower case; overrides the listener's
}

type weightedCluster struct {
	name                            string
	weight                          uint32
	requestHeaders, responseHeaders *headerChanges
	hostRewrite                     string
}

// pick chooses a cluster, given a function that draws a number below its argument.
func (f *forward) pick(draw func(uint32) uint32) *weightedCluster {
	if len(f.clusters) == 1 {
		return &f.clusters[0]
	}
	n := draw(f.total)
	for i := range f.clusters {
		if n < f.clusters[i].weight {
			return &f.clusters[i]
		}
		n -= f.clusters[i].weight
	}
	return &f.clusters[len(f.clusters)-1]
}

// find gives the first route that matches.
func (vh *virtualHost) find(v *requestView) *route {
	for _, r := range vh.routes {
		if r.match(v) {
			return r
		}
	}
	return nil
}

func (r *route) match(v *requestView) bool {
	if !r.path.matches(v.path) || r.grpc && !isGRPC(v.Request) {
		return false
	}
	for i := range r.headers {
		if !r.headers[i].match(v) {
			return false
		}
	}
	return true
}

func isGRPC(r *http.Request) bool {
	values := r.Header["Content-Type"]
	if len(values) == 0 {
		return false
	}
	rest, ok := strings.CutPrefix(values[0], "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// headerFields are the four fields by which each level of a route configuration changes headers.
type headerFields interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func compileBothHeaders(m headerFields) (request, response *headerChanges, err error) {
	if request, err = compileHeaders("request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()); err != nil {
		return nil, nil, err
	}
	response, err = compileHeaders("response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
	return request, response, err
}

func compileVirtualHost(raw []byte) (*virtualHost, error) {
	vh, err := newVirtualHost(raw)
	if err != nil {
		return nil, fmt.Errorf("virtual host %q: %w", vh.name, err)
	}
	return vh, nil
}

// newVirtualHost has at least the name of one that it cannot make.
func newVirtualHost(raw []byte) (*virtualHost, error) {
	m, err := decode(raw, &routev3.VirtualHost{})
	vh := &virtualHost{name: m.GetName()}
	if err == nil {
		vh.requestHeaders, vh.responseHeaders, err = compileBothHeaders(m)
	}
	if err == nil {
		vh.domains, err = compileDomains(m.GetDomains())
	}
	for i := 0; err == nil && i < len(m.GetRoutes()); i++ {
		var r *route
		r, err = compileRoute(m.GetRoutes()[i], m)
		err = atIndex("routes", i, err)
		vh.routes = append(vh.routes, r)
	}
	return vh, err
}

func compileDomains(domains []string) ([]string, error) {
	out := make([]string, len(domains))
	for i, domain := range domains {
		if n := strings.Count(domain, "*"); n > 1 || n == 1 && !strings.HasPrefix(domain, "*") && !strings.HasSuffix(domain, "*") {
			return nil, atIndex("domains", i, fmt.Errorf("%q: a wildcard stands at the beginning or at the end, once", domain))
		}
		out[i] = strings.ToLower(domain)
	}
	return out, nil
}

func compileRoute(m *routev3.Route, vh *routev3.VirtualHost) (*route, error) {
	r := &route{grpc: m.GetMatch().GetGrpc() != nil}
	var err error
	if r.path, err = compilePath(m.GetMatch()); err != nil {
		return nil, at("match", err)
	}
	for i, h := range m.GetMatch().GetHeaders() {
		match, err := compileHeaderMatch(h)
		if err != nil {
			return nil, at("match", atIndex("headers", i, err))
		}
		r.headers = append(r.headers, match)
	}
	if r.requestHeaders, r.responseHeaders, err = compileBothHeaders(m); err != nil {
		return nil, err
	}
	switch {
	case m.GetRoute() != nil:
		r.forward, err = compileForward(m.GetRoute(), vh)
		err = at("route", err)
	case m.GetRedirect() != nil:
		r.redirect, err = compileRedirect(m.GetRedirect())
		err = at("redirect", err)
	case m.GetDirectResponse() != nil:
		r.direct, err = compileDirect(m.GetDirectResponse())
		err = at("direct_response", err)
	default:
		err = fmt.Errorf("has no route, redirect or direct_response")
	}
	return r, err
}

// defaultTimeout is Envoy's for a route that does not say.
const defaultTimeout = 15 * time.Second

func compileForward(m *routev3.RouteAction, vh *routev3.VirtualHost) (*forward, error) {
	f := &forward{
		notFound:            http.StatusServiceUnavailable,
		prefixRewrite:       m.GetPrefixRewrite(),
		hostRewrite:         m.GetHostRewriteLiteral(),
		appendForwardedHost: m.GetAppendXForwardedHost(),
		timeout:             durationOr(m.GetTimeout(), defaultTimeout),
		idle:                durationOr(m.GetIdleTimeout(), -1),
		maxDuration:         durationOr(m.GetMaxStreamDuration().GetMaxStreamDuration(), -1),
		upgrades:            map[string]bool{},
	}
	if m.GetClusterNotFoundResponseCode() == routev3.RouteAction_NOT_FOUND {
		f.notFound = http.StatusNotFound
	} else if m.GetClusterNotFoundResponseCode() == routev3.RouteAction_INTERNAL_SERVER_ERROR {
		f.notFound = http.StatusInternalServerError
	}
	for _, u := range m.GetUpgradeConfigs() {
		f.upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	retry := m.GetRetryPolicy()
	if retry == nil {
		retry = vh.GetRetryPolicy()
	}
	var err error
	if f.retry, err = compileRetry(retry); err != nil {
		return nil, at("retry_policy", err)
	}
	return f, compileClusters(f, m)
}

func compileClusters(f *forward, m *routev3.RouteAction) error {
	if name := m.GetCluster(); name != "" {
		f.clusters = []weightedCluster{{name: name, weight: 1}}
		f.total = 1
		return nil
	}
	var sum uint64
	for i, c := range m.GetWeightedClusters().GetClusters() {
		w := weightedCluster{name: c.GetName(), weight: c.GetWeight().GetValue(), hostRewrite: c.GetHostRewriteLiteral()}
		var err error
		if w.requestHeaders, w.responseHeaders, err = compileBothHeaders(c); err != nil {
			return at("weighted_clusters", atIndex("clusters", i, err))
		}
		if w.name == "" {
			return at("weighted_clusters", atIndex("clusters", i, fmt.Errorf("name is missing")))
		}
		sum += uint64(w.weight)
		if w.weight > 0 {
			f.clusters = append(f.clusters, w)
		}
	}
	//nolint:staticcheck // deprecated, but where it is given it must hold
	if total := m.GetWeightedClusters().GetTotalWeight(); total != nil && uint64(total.GetValue()) != sum {
		return at("weighted_clusters", fmt.Errorf("weights sum to %d; total_weight asks for %d", sum, total.GetValue()))
	}
	if sum == 0 || sum > 1<<32-1 {
		return at("weighted_clusters", fmt.Errorf("weights sum to %d; they must sum to 1 to %d", sum, uint32(1<<32-1)))
	}
	f.total = uint32(sum)
	return nil
}

// durationOr gives a duration, or the default when it is not set. What is negative counts as 0.
func durationOr(d *durationpb.Duration, missing time.Duration) time.Duration {
	if d == nil {
		return missing
	}
	return max(0, d.AsDuration())
}
