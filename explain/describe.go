package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// describe describes the chain, link by link.
func (c *chain) describe() {
	if s := c.service; s != nil {
		o := object(s.Key, s.Generation, s.Observed, s.Conditions)
		c.out.Service = &o
	}
	c.describeConfigurations()
	if c.route != nil {
		c.describeRoute()
		c.describeHosts()
	}
	c.describeRevisions()
	c.describeClients()
}

func (c *chain) describeConfigurations() {
	for _, o := range c.followed() {
		c.out.Configurations = append(c.out.Configurations, Configuration{
			Object: object(o.Key, o.Generation, o.Observed, o.Conditions), LatestCreated: o.LatestCreated, LatestReady: o.LatestReady,
		})
	}
}

// followed returns the Configuration of the name and those that the Route's targets follow, sorted by name.
func (c *chain) followed() []*model.Configuration {
	var out []*model.Configuration
	for _, o := range c.Objects.Configurations {
		named := c.route != nil && o.Key.Namespace == c.route.Key.Namespace &&
			slices.ContainsFunc(c.targets(), func(t model.Target) bool { return t.Configuration == o.Key.Name })
		if named || o == c.configuration && c.claim == nil {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *model.Configuration) int { return a.Key.Compare(b.Key) })
	return out
}

// targets returns the entries of spec.traffic that the question is about. Entries that differ in their percent only are merged.
func (c *chain) targets() []model.Target {
	var out []model.Target
	for _, t := range c.route.Traffic {
		if c.claim != nil && c.claim.Tag != "" && t.Tag != c.claim.Tag {
			continue
		}
		same := func(o model.Target) bool {
			return o.Tag == t.Tag && o.Revision == t.Revision && o.Configuration == t.Configuration
		}
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].Percent += t.Percent
			continue
		}
		out = append(out, t)
	}
	return out
}

// describeRoute compares the split asked for with the one in force.
func (c *chain) describeRoute() {
	r := c.route
	out := &Route{Object: object(r.Key, r.Generation, r.Observed, r.Conditions), URL: r.URL, Targets: []Target{}}
	taken := make([]bool, len(r.Served))
	for _, t := range c.targets() {
		out.Targets = append(out.Targets, c.target(t, taken))
	}
	for i, s := range r.Served {
		if !taken[i] && c.about(s.Tag) {
			out.Targets = append(out.Targets, Target{
				Tag: s.Tag, Revision: s.Revision, Given: []Share{{s.Revision, s.Percent}},
				Why: "no longer asked for; it stays in force until the new split can be served",
			})
		}
	}
	for _, s := range c.shifts() {
		next := Rollout{Configuration: s.Configuration, Tag: s.Tag, Step: s.Step}
		for _, p := range s.Shares {
			next.Shares = append(next.Shares, Share{p.Revision.Name, p.Percent})
		}
		if !s.Next.IsZero() {
			next.Next = &s.Next
		}
		out.Rollouts = append(out.Rollouts, next)
	}
	c.out.Route = out
}

// target compares an entry of the spec with the status. It marks the entries of the status that it uses as taken.
func (c *chain) target(t model.Target, taken []bool) Target {
	out := Target{Tag: t.Tag, Revision: t.Revision, Configuration: t.Configuration, Asked: t.Percent}
	for i, s := range c.route.Served {
		if !taken[i] && s.Tag == t.Tag && (s.Revision == t.Revision || t.Revision == "" && s.Latest) {
			taken[i] = true
			out.Given = append(out.Given, Share{s.Revision, s.Percent})
		}
	}
	out.Why = c.whyNot(t, out.Given)
	return out
}

// about says whether the question is about the hosts of a tag.
func (c *chain) about(tag string) bool {
	return c.claim == nil || c.claim.Tag == "" || c.claim.Tag == tag
}

// shifts returns the gradual rollouts that the question is about.
func (c *chain) shifts() []rollout.Shift {
	if c.route == nil {
		return nil
	}
	return slices.DeleteFunc(rollout.UnderWay(c.route), func(s rollout.Shift) bool { return c.claim != nil && c.claim.Tag != s.Tag })
}

// whyNot returns why a target does not get what it asks for; empty when it does.
func (c *chain) whyNot(t model.Target, given []Share) string {
	has := 0
	for _, s := range given {
		has += s.Percent
	}
	under := slices.ContainsFunc(c.shifts(), func(s rollout.Shift) bool { return t.Revision == "" && s.Configuration == t.Configuration })
	if under && len(given) > 1 {
		return "a gradual rollout is under way"
	}
	if t.Revision == "" {
		if why := c.notLatest(t.Configuration); why != "" {
			return why
		}
	} else if why := c.notReady(t.Revision); why != "" {
		return why
	}
	if len(given) > 0 && has == t.Percent {
		return ""
	}
	if a := model.FindCondition(c.route.Conditions, model.AllTrafficAssigned); a.Status != "" && a.Status != model.True {
		return line(a.Message)
	}
	return "not in force yet"
}

// notLatest returns why a Configuration's newest revision does not get its requests; empty when it does.
func (c *chain) notLatest(name string) string {
	o, ok := find(c.Objects.Configurations, func(o *model.Configuration) bool {
		return o.Key.Namespace == c.route.Key.Namespace && o.Key.Name == name
	})
	switch {
	case !ok:
		return fmt.Sprintf("Configuration %s does not exist", name)
	case o.LatestCreated == "":
		return fmt.Sprintf("Configuration %s has no revision yet", name)
	case o.LatestCreated != o.LatestReady:
		return c.notReady(o.LatestCreated)
	}
	return ""
}

// notReady returns why a revision may not have requests; empty when it may.
func (c *chain) notReady(name string) string {
	r := c.revisions[name]
	switch {
	case r == nil:
		return fmt.Sprintf("Revision %s does not exist", name)
	case r.Ready.Status == model.False:
		return fmt.Sprintf("Revision %s failed (%s)", name, r.Ready.Reason) // the Revision has the message
	case r.Ready.Status != model.True:
		return fmt.Sprintf("Revision %s is not ready yet", name)
	}
	return ""
}

// describeRevisions describes the revisions that have or should have requests.
func (c *chain) describeRevisions() {
	shares, tags := c.shares(), c.tags()
	for _, name := range c.concerned() {
		r := Revision{Object: Object{Name: c.key(name).String()}, Percent: shares[name], Tags: tags[name]}
		if s := c.revisions[name]; s != nil {
			r.Object = object(s.Key, s.Generation, s.Observed, s.Conditions)
			r.Ready, r.Reason, r.Message = string(s.Ready.Status), s.Ready.Reason, line(s.Ready.Message)
			r.Desired, r.Actual, r.Scale = replicas(s.Desired), replicas(s.Actual), line(s.Why)
			for _, asked := range s.Asked {
				r.Asked = append(r.Asked, line(asked))
			}
			if s.Ready.Status == "" {
				r.Ready = string(model.Unknown)
			}
		}
		r.Cluster = c.cluster(name)
		c.out.Revisions = append(c.out.Revisions, r)
	}
	for name := range c.revisions {
		if !slices.ContainsFunc(c.out.Revisions, func(r Revision) bool { return r.Name == c.key(name).String() }) {
			c.out.OtherRevisions++
		}
	}
}

func replicas(n int) *int {
	if n == model.UnknownReplicas {
		return nil
	}
	return &n
}

// key returns a name in the namespace of the question.
func (c *chain) key(name string) model.Key {
	switch {
	case c.route != nil:
		return model.Key{Namespace: c.route.Key.Namespace, Name: name}
	case c.service != nil:
		return model.Key{Namespace: c.service.Key.Namespace, Name: name}
	}
	return model.Key{Namespace: c.configuration.Key.Namespace, Name: name}
}

// concerned returns the names of revisions that have or should have requests, and the newest of each Configuration; sorted.
func (c *chain) concerned() []string {
	names := slices.Collect(maps.Keys(c.shares()))
	if c.claim == nil {
		names = slices.AppendSeq(names, maps.Keys(c.tags()))
	}
	names = append(names, c.namedByTargets()...)
	for _, o := range c.followed() {
		names = append(names, o.LatestCreated)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.TrimSpace(name) == "" })
	slices.Sort(names)
	return slices.Compact(names)
}

// namedByTargets returns the revisions that targets name, without those of 0 percent where the question is about the Route's own hosts.
func (c *chain) namedByTargets() []string {
	if c.route == nil {
		return nil
	}
	var names []string
	for _, t := range c.targets() {
		if t.Revision != "" && (c.claim == nil || c.claim.Tag != "" || t.Percent > 0) {
			names = append(names, t.Revision)
		}
	}
	return names
}

// shares returns the percents in force for the hosts that the question is about: the Route's own, or those of a tag.
func (c *chain) shares() map[string]int {
	out := map[string]int{}
	switch {
	case c.route == nil:
	case c.claim == nil || c.claim.Tag == "":
		for _, s := range c.route.Served {
			if s.Percent > 0 {
				out[s.Revision] += s.Percent
			}
		}
	default:
		for _, s := range c.shifts() {
			for _, p := range s.Shares {
				out[p.Revision.Name] += p.Percent
			}
		}
		for _, s := range slices.Backward(c.route.Served) { // the tag leads to its last entry
			if s.Tag == c.claim.Tag && len(out) == 0 {
				out[s.Revision] = 100
			}
		}
	}
	return out
}

// tags returns the tags that lead to each revision.
func (c *chain) tags() map[string][]string {
	out := map[string][]string{}
	if c.route == nil {
		return out
	}
	for _, s := range c.route.Served {
		if s.Tag != "" && !slices.Contains(out[s.Revision], s.Tag) {
			out[s.Revision] = append(out[s.Revision], s.Tag)
		}
	}
	return out
}
