package config

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// headerFields are the four fields by which each level of a route configuration changes headers.
type headerFields interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func compileChanges(m headerFields) (c settings.LevelChanges, err error) {
	if c.Request, err = compileHeaders("request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()); err == nil {
		c.Response, err = compileHeaders("response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
	}
	return c, err
}

func compileVirtualHost(raw []byte) (*settings.VirtualHost, error) {
	vh, err := newVirtualHost(raw)
	if err != nil {
		return nil, fmt.Errorf("virtual host %q: %w", vh.Name, err)
	}
	return vh, nil
}

// newVirtualHost returns a virtual host with its name, if it has one, even with an error.
func newVirtualHost(raw []byte) (*settings.VirtualHost, error) {
	m, err := decode(raw, &routev3.VirtualHost{})
	vh := &settings.VirtualHost{Name: m.GetName()}
	if err == nil {
		vh.Changes, err = compileChanges(m)
	}
	if err == nil {
		vh.Domains, err = compileDomains(m.GetDomains())
	}
	for i := 0; err == nil && i < len(m.GetRoutes()); i++ {
		var r *settings.Route
		r, err = compileRoute(m.GetRoutes()[i], m)
		err = atIndex("routes", i, err)
		vh.Routes = append(vh.Routes, r)
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

func compileRoute(m *routev3.Route, vh *routev3.VirtualHost) (*settings.Route, error) {
	r := &settings.Route{GRPC: m.GetMatch().GetGrpc() != nil}
	var err error
	if r.Path, err = compilePath(m.GetMatch()); err != nil {
		return nil, at("match", err)
	}
	for i, h := range m.GetMatch().GetHeaders() {
		match, err := compileHeaderMatch(h)
		if err != nil {
			return nil, at("match", atIndex("headers", i, err))
		}
		r.Headers = append(r.Headers, match)
	}
	if r.Changes, err = compileChanges(m); err != nil {
		return nil, err
	}
	switch {
	case m.GetRoute() != nil:
		r.Forward, err = compileForward(m.GetRoute(), vh)
		err = at("route", err)
	case m.GetRedirect() != nil:
		r.Redirect, err = compileRedirect(m.GetRedirect())
		err = at("redirect", err)
	case m.GetDirectResponse() != nil:
		r.Direct, err = compileDirect(m.GetDirectResponse())
		err = at("direct_response", err)
	default:
		err = fmt.Errorf("has no route, redirect or direct_response")
	}
	return r, err
}

// defaultTimeout is Envoy's for a route without one.
const defaultTimeout = 15 * time.Second

func compileForward(m *routev3.RouteAction, vh *routev3.VirtualHost) (*settings.Forward, error) {
	f := &settings.Forward{
		NotFound:            503,
		PrefixRewrite:       m.GetPrefixRewrite(),
		HostRewrite:         m.GetHostRewriteLiteral(),
		AppendForwardedHost: m.GetAppendXForwardedHost(),
		Timeout:             durationOr(m.GetTimeout(), defaultTimeout),
		Idle:                durationOr(m.GetIdleTimeout(), -1),
		MaxDuration:         durationOr(m.GetMaxStreamDuration().GetMaxStreamDuration(), -1),
		Upgrades:            map[string]bool{},
	}
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		f.NotFound = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		f.NotFound = 500
	}
	for _, u := range m.GetUpgradeConfigs() {
		f.Upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	retry := m.GetRetryPolicy()
	if retry == nil {
		retry = vh.GetRetryPolicy()
	}
	var err error
	if f.Retry, err = compileRetry(retry); err != nil {
		return nil, at("retry_policy", err)
	}
	return f, compileClusters(f, m)
}

func compileClusters(f *settings.Forward, m *routev3.RouteAction) error {
	if name := m.GetCluster(); name != "" {
		f.Clusters = []settings.WeightedCluster{{Name: name, Weight: 1}}
		f.Total = 1
		return nil
	}
	var sum uint64
	for i, c := range m.GetWeightedClusters().GetClusters() {
		w := settings.WeightedCluster{Name: c.GetName(), Weight: c.GetWeight().GetValue(), HostRewrite: c.GetHostRewriteLiteral()}
		var err error
		if w.Changes, err = compileChanges(c); err != nil {
			return at("weighted_clusters", atIndex("clusters", i, err))
		}
		if w.Name == "" {
			return at("weighted_clusters", atIndex("clusters", i, fmt.Errorf("name is missing")))
		}
		sum += uint64(w.Weight)
		if w.Weight > 0 {
			f.Clusters = append(f.Clusters, w)
		}
	}
	//nolint:staticcheck // deprecated, but where it is given it must hold
	if total := m.GetWeightedClusters().GetTotalWeight(); total != nil && uint64(total.GetValue()) != sum {
		return at("weighted_clusters", fmt.Errorf("weights sum to %d; total_weight asks for %d", sum, total.GetValue()))
	}
	if sum == 0 || sum > 1<<32-1 {
		return at("weighted_clusters", fmt.Errorf("weights sum to %d; they must sum to 1 to %d", sum, uint32(1<<32-1)))
	}
	f.Total = uint32(sum)
	return nil
}

// durationOr is a duration, or the default when it is not set. A negative one counts as 0.
func durationOr(d *durationpb.Duration, missing time.Duration) time.Duration {
	if d == nil {
		return missing
	}
	return max(0, d.AsDuration())
}
