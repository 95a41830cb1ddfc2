package rollout

import (
	"cmp"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// Domain is a domain of external hosts, and which Routes it is for.
type Domain struct {
	Name string
	// Selector are labels that a Route must have, all of them.
	Selector map[string]string
}

// selects says whether the domain is for objects with these labels.
func (d Domain) selects(labels map[string]string) bool {
	for name, value := range d.Selector {
		if have, ok := labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// domainOf returns the domain of a Route: that of the matching selector with the most labels. Of several the first by the alphabet counts,
// as in Knative.
func (o Options) domainOf(route *model.RouteSpec) string {
	best := Domain{Name: cmp.Or(o.Domain, "localhost")}
	for _, d := range o.Domains {
		more := len(d.Selector) - len(best.Selector)
		if d.selects(route.Labels) && (more > 0 || more == 0 && d.Name < best.Name) {
			best = d
		}
	}
	return best.Name
}

// localDomain is the domain of hosts within the cluster.
func (o Options) localDomain() string { return "svc." + o.clusterDomain() }

func (o Options) clusterDomain() string { return cmp.Or(o.ClusterDomain, "cluster.local") }

// isLocal says whether the host of a Route's tag, or of the Route itself when tag is empty, is not visible outside.
func (o Options) isLocal(route *model.RouteSpec, tag string) bool {
	return route.ClusterLocal || slices.Contains(route.LocalTags, tag) || o.domainOf(route) == o.localDomain()
}

// within says whether a host is below a domain.
func within(host, domain string) bool { return strings.HasSuffix(host, "."+domain) }
