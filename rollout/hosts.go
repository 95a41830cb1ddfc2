package rollout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/model"
)

const longestHost = 253

// hosts are the host names of one rule of a Route.
type hosts struct {
	// label is the first label of the local hosts.
	label string
	// external is empty when the rule is cluster-local.
	external []string
	local    []string
	url      string
}

// hostsOf returns the hosts of a Route's tag, or of the Route itself when tag is empty. The error says which one would not be a host name,
// for the user who wrote the Route.
func (o Options) hostsOf(route *model.RouteSpec, tag string) (hosts, error) {
	label, err := o.TagTemplate.label(tagValues{Name: route.Key.Name, Tag: tag})
	if err != nil {
		return hosts{}, err
	}
	short := label + "." + route.Key.Namespace
	cluster := short + "." + o.localDomain()
	if !isFQDN(cluster) {
		return hosts{}, unnameable(cluster)
	}
	h := hosts{label: label, local: []string{short, short + ".svc", cluster}, url: "http://" + cluster}
	if o.isLocal(route, tag) {
		return h, nil
	}
	external, err := o.DomainTemplate.host(domainValues{
		Name: label, Namespace: route.Key.Namespace, Domain: o.domainOf(route), Annotations: route.Annotations, Labels: route.Labels,
	})
	if err != nil {
		return hosts{}, err
	}
	if !isFQDN(external) {
		return hosts{}, unnameable(external)
	}
	if within(external, o.localDomain()) {
		return hosts{}, fmt.Errorf("domain name %q is one of hosts within the cluster: the domain of a Route that is visible outside "+
			"must not end with %s", external, o.localDomain())
	}
	h.external = []string{external}
	h.url = o.urlOf(external, o.Scheme)
	return h, nil
}

func unnameable(host string) error {
	return fmt.Errorf("invalid domain name %q: every part between dots must be 1 to 63 lower-case letters, digits and inner dashes, "+
		"there must be two parts or more, and the whole must have at most %d characters", host, longestHost)
}

// address is the URL of a Route within the cluster.
func (o Options) address(route *model.RouteSpec) string {
	return "http://" + route.Key.Name + "." + route.Key.Namespace + "." + o.localDomain()
}

// urlOf is the URL of an external host; an empty scheme is http.
func (o Options) urlOf(host, scheme string) string {
	usual, port := 80, o.Port
	if scheme == "" {
		scheme = "http"
	}
	if scheme == "https" {
		usual = 443
		if o.Scheme != scheme {
			port = o.SecurePort
		}
	}
	if port == 0 || port == usual {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + strconv.Itoa(port)
}

// isFQDN says whether s is a fully qualified domain name: two or more labels of 1 to 63 lower-case letters, digits and inner dashes.
func isFQDN(s string) bool {
	if len(s) > longestHost || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > longestName || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// Placeholder is a name within the cluster by which clients find the hosts of a Route or of one of its tags.
type Placeholder struct {
	// Tag is empty for the Route itself.
	Tag string
	// Name is a name in the Route's namespace.
	Name string
}

// Placeholders returns the names within the cluster of a Route and of the tags of its splits, each once, without those that would be no
// names.
func (o Options) Placeholders(route *model.RouteSpec, splits ...[]model.Target) []Placeholder {
	var out []Placeholder
	add := func(tag string) {
		h, err := o.hostsOf(route, tag)
		if err == nil && !slices.ContainsFunc(out, func(p Placeholder) bool { return p.Tag == tag || p.Name == h.label }) {
			out = append(out, Placeholder{Tag: tag, Name: h.label})
		}
	}
	add("")
	for _, split := range splits {
		for _, t := range split {
			if t.Tag != "" {
				add(t.Tag)
			}
		}
	}
	return out
}
