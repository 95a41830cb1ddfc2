package rollout

import (
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// Shift is a gradual rollout under way: the requests to one Configuration on their way to its newest revision.
type Shift struct {
	// Configuration is a name in the Route's namespace; Tag is empty for the Route's own hosts.
	Configuration, Tag string
	// Shares are sorted from the oldest revision to the newest, which has all requests in the end. Their percents are of all requests
	// to the Route's own hosts, or to the tag's.
	Shares []model.Share
	// Next is when the next step is due, zero until the data plane has acknowledged the first percent; Step is its size in percent.
	Next time.Time
	Step int
}

// UnderWay returns the gradual rollouts of a Route that have not ended, from its stored state.
func UnderWay(route *model.RouteSpec) []Shift {
	var out []Shift
	for _, c := range parseGradual(route.Rollout).Configurations {
		if len(c.Revisions) < 2 {
			continue
		}
		s := Shift{Configuration: c.Configuration, Tag: c.Tag, Step: c.Step.Size}
		if c.Step.Next > 0 {
			s.Next = time.Unix(0, c.Step.Next).UTC()
		}
		for _, p := range c.Revisions {
			s.Shares = append(s.Shares, model.Share{Revision: revisionKey(route, p.Revision), Percent: p.Percent})
		}
		out = append(out, s)
	}
	return out
}

// Hosts returns the host names of a Route, or of one of its tags: those visible from outside, and those within the cluster. Both are
// empty when they would not be host names.
func (o Options) Hosts(route *model.RouteSpec, tag string) (external, local []string) {
	h, _ := o.hostsOf(route, tag)
	return h.external, h.local
}

// OptionsOf returns the settings by which a Route got the URLs of its status; those that do not follow from it are empty.
func OptionsOf(route *model.RouteSpec) Options {
	var o Options
	prefix := route.Key.Name + "." + route.Key.Namespace + "."
	if _, rest, ok := strings.Cut(route.Address, "://"+prefix+"svc."); ok {
		o.ClusterDomain = rest
	}
	scheme, rest, ok := strings.Cut(route.URL, "://")
	domain, named := strings.CutPrefix(rest, prefix)
	if ok && named && !route.ClusterLocal {
		o.Scheme = scheme
		o.Domain, _, _ = strings.Cut(domain, ":")
	}
	return o
}
