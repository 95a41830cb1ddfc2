package explain

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// chain builds an Explanation.
type chain struct {
	Input
	out *Explanation
	// service, configuration and route are the objects of the name, nil where there is none.
	service       *model.Service
	configuration *model.Configuration
	route         *model.RouteSpec
	// claim restricts the question to the hosts of one tag, or to the Route's own; nil for all hosts.
	claim     *Claim
	options   rollout.Options
	revisions map[string]*RevisionState
	hosts     hostIndex
}

// Explain answers the Query.
func Explain(in Input) *Explanation {
	c := &chain{Input: in, out: &Explanation{Asked: in.Query.String(), Broken: []Link{}}, revisions: map[string]*RevisionState{}}
	if f := in.Unreadable; f != nil {
		c.broken(Link{Link: LinkAPI, Object: f.Who, Reason: "Unreachable", Message: f.Message, Remedy: f.Remedy, Stops: true})
	} else if c.find() {
		c.options = settings(in.Objects.Routes)
		c.describe()
		c.check()
	}
	c.conclude()
	return c.out
}

// find sets the objects that the question is about. It reports false when there are none.
func (c *chain) find() bool {
	key := c.Query.Key
	if c.Query.Host != "" {
		if c.claim = c.claimOf(c.Query.Host); c.claim == nil {
			c.unclaimed()
			return false
		}
		key = c.claim.target()
	}
	c.service, _ = find(c.Objects.Services, func(s *model.Service) bool { return s.Key == key })
	c.route, _ = find(c.Objects.Routes, func(r *model.RouteSpec) bool { return r.Key == key })
	c.configuration, _ = find(c.Objects.Configurations, func(o *model.Configuration) bool { return o.Key == key })
	if c.service == nil && c.route == nil && c.configuration == nil {
		if c.checkMapping(); len(c.out.Broken) == 0 {
			c.missing(key)
		}
		return false
	}
	for _, r := range c.Objects.Revisions {
		if r.Key.Namespace == key.Namespace {
			c.revisions[r.Key.Name] = r
		}
	}
	if c.service == nil && c.claim == nil {
		kind := servingRoute
		if c.route == nil {
			kind = servingConfiguration
		}
		c.out.Asked = kind + " " + key.String()
	}
	return true
}

// Kinds of the API, as sentences name them.
const (
	servingService       = "Service"
	servingRoute         = "Route"
	servingConfiguration = "Configuration"
	servingRevision      = "Revision"
)

func (c *chain) unclaimed() {
	c.out.Near = nearHosts(c.Objects.Routes, c.Query.Host)
	l := Link{
		Link: LinkHost, Object: "host " + c.Query.Host, Reason: "NotClaimed", Stops: true,
		Message: fmt.Sprintf("No Route and no DomainMapping has the host %s: requests to it are answered 404", c.Query.Host),
		Remedy:  "List the hosts that there are: kubectl get routes,domainmappings -A",
	}
	if len(c.out.Near) > 0 {
		l.Remedy = "Did you mean " + choice(c.out.Near) + "?"
	}
	c.broken(l)
}

func (c *chain) missing(key model.Key) {
	l := Link{
		Link: LinkObject, Object: servingService + " " + key.String(), Reason: "NotFound", Stops: true,
		Message: fmt.Sprintf("There is no Service, Route or Configuration %s", key),
		Remedy:  "List what there is: kubectl get ksvc -A",
	}
	revision, ok := find(c.Objects.Revisions, func(r *RevisionState) bool { return r.Key == key })
	if ok {
		owner := key
		if owner.Name = revision.Service; owner.Name == "" {
			owner.Name = revision.Configuration
		}
		l.Message += fmt.Sprintf(": it is a Revision of %s", owner)
		c.out.Near = []string{owner.String()}
	} else {
		c.out.Near = nearNames(c.Objects, key)
	}
	if len(c.out.Near) > 0 {
		l.Remedy = "Did you mean " + choice(c.out.Near) + "?"
	}
	c.broken(l)
}

func (c *chain) broken(l Link) {
	l.Message, l.Remedy = line(l.Message), line(l.Remedy)
	c.out.Broken = append(c.out.Broken, l)
}

// isBroken says whether a link of that kind is broken: of any object, or of the given one.
func (c *chain) isBroken(link, object string) bool {
	return slices.ContainsFunc(c.out.Broken, func(l Link) bool { return l.Link == link && (object == "" || l.Object == object) })
}

// subject returns the kind and name of the Route, Service or Configuration that the question is about.
func (c *chain) subject() string {
	switch {
	case c.route != nil:
		return servingRoute + " " + c.route.Key.String()
	case c.service != nil:
		return servingService + " " + c.service.Key.String()
	}
	return servingConfiguration + " " + c.configuration.Key.String()
}

// longestLine bounds a sentence: the last output of an application may be long.
const longestLine = 400

// line joins the lines of a text, and cuts it to longestLine.
func line(text string) string {
	text = strings.TrimRight(strings.Join(strings.Fields(text), " "), ".")
	if r := []rune(text); len(r) > longestLine {
		text = string(r[:longestLine]) + "…"
	}
	return text
}

// choice lists names with "or" before the last.
func choice(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
