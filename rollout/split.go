package rollout

import (
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// split is who gets the requests of a Route: the default group, and one group per tag.
type split struct {
	// traffic is the same split for the status.
	traffic []model.Target
	// groups are shares by tag; the default group has the tag "". The shares of a group sum to 100, or there are none.
	groups map[string][]model.Share
	// tags name the revision that each tag leads to: the newest one during a rollout.
	tags []model.TagShare
}

// goalOf returns the goal of rollouts: the newest revision of each configuration has all of its requests. A tag is a goal of its own, of
// 100 percent.
func goalOf(targets []model.Target) *gradual {
	g := &gradual{}
	for _, t := range targets {
		if !t.Latest {
			continue
		}
		g.want("", t.Configuration, t.Revision, t.Percent)
		if t.Tag != "" {
			g.want(t.Tag, t.Configuration, t.Revision, 100)
		}
	}
	return g
}

// splitOf splits the requests of resolved targets between revisions, by the state of their rollouts.
func splitOf(route *model.RouteSpec, targets []model.Target, state *gradual) split {
	s := split{groups: map[string][]model.Share{}}
	taken := map[string]int{}
	for _, t := range targets {
		parts := apportion(t, state, taken)
		if t.Tag != "" {
			group := []portion{{t.Revision, 100}}
			if c := state.find(t.Tag, t.Configuration); t.Latest && c != nil {
				group = c.Revisions
			}
			for _, p := range group {
				s.groups[t.Tag] = share(s.groups[t.Tag], route, p)
			}
			s.tags = append(s.tags, model.TagShare{Tag: t.Tag, Revision: revisionKey(route, t.Revision)})
			parts = listed(group, parts)
		}
		for _, part := range parts {
			s.add(route, t, part)
		}
	}
	s.sort()
	return s
}

// apportion returns the revisions of one target and their percents. Targets that follow the same configuration share the percents of its
// rollout in the order of the spec; taken counts those that earlier targets have.
func apportion(t model.Target, state *gradual, taken map[string]int) []portion {
	c := state.find("", t.Configuration)
	if !t.Latest || c == nil || t.Percent == 0 {
		return []portion{{t.Revision, t.Percent}}
	}
	var out []portion
	skip, left := taken[t.Configuration], t.Percent
	for _, p := range c.Revisions {
		gone := min(skip, p.Percent)
		skip -= gone
		if part := min(left, p.Percent-gone); part > 0 {
			out = append(out, portion{p.Revision, part})
			left -= part
		}
	}
	taken[t.Configuration] += t.Percent
	return out
}

// add lists a part of a target. It merges the part with an earlier one that differs in the percent only.
func (s *split) add(route *model.RouteSpec, t model.Target, p portion) {
	s.groups[""] = share(s.groups[""], route, p)
	for i := range s.traffic {
		if o := &s.traffic[i]; o.Tag == t.Tag && o.Revision == p.Revision && o.Latest == t.Latest {
			o.Percent += p.Percent
			return
		}
	}
	s.traffic = append(s.traffic, model.Target{Tag: t.Tag, Revision: p.Revision, Latest: t.Latest, Percent: p.Percent})
}

// listed adds to the parts of a tagged target, with 0 percent, the revisions that only the tag's own group has. The tag's rollout may take
// longer, and the status names every revision that has requests.
func listed(group, parts []portion) []portion {
	var only []portion
	for _, p := range group {
		if !slices.ContainsFunc(parts, func(q portion) bool { return q.Revision == p.Revision }) {
			only = append(only, portion{p.Revision, 0})
		}
	}
	return append(only, parts...)
}

func revisionKey(route *model.RouteSpec, name string) model.Key {
	return model.Key{Namespace: route.Key.Namespace, Name: name}
}

// share adds to a group. It merges shares of one revision, and leaves out a share of 0 percent.
func share(group []model.Share, route *model.RouteSpec, p portion) []model.Share {
	if p.Percent <= 0 {
		return group
	}
	key := revisionKey(route, p.Revision)
	for i := range group {
		if group[i].Revision == key {
			group[i].Percent += p.Percent
			return group
		}
	}
	return append(group, model.Share{Revision: key, Percent: p.Percent})
}

// keptSplit returns the split before, from the status and the state of rollouts, for a spec that cannot be served. The shares of deleted
// revisions go to the others.
func keptSplit(r *resolver, prev *gradual) split {
	s := split{traffic: r.route.Served, groups: map[string][]model.Share{}}
	for _, t := range r.route.Served {
		if !r.alive(t.Revision) {
			continue
		}
		s.groups[""] = share(s.groups[""], r.route, portion{t.Revision, t.Percent})
		if t.Tag == "" {
			continue
		}
		// A rollout under way lists a tag once per revision: the newest is the last, and the one that the tag leads to.
		s.groups[t.Tag] = []model.Share{{Revision: revisionKey(r.route, t.Revision), Percent: 100}}
		s.tags = slices.DeleteFunc(s.tags, func(o model.TagShare) bool { return o.Tag == t.Tag })
		s.tags = append(s.tags, model.TagShare{Tag: t.Tag, Revision: revisionKey(r.route, t.Revision)})
	}
	for _, c := range prev.Configurations {
		if _, served := s.groups[c.Tag]; !served || c.Tag == "" || len(c.Revisions) < 2 {
			continue
		}
		s.groups[c.Tag] = nil
		for _, p := range prune(c.Revisions, r.alive) {
			s.groups[c.Tag] = share(s.groups[c.Tag], r.route, p)
		}
	}
	for tag, group := range s.groups {
		s.groups[tag] = normalize(group)
	}
	s.sort()
	return s
}

// normalize scales the percents of a group to a sum of 100. The last one gets the rounding error.
func normalize(group []model.Share) []model.Share {
	sum := 0
	for _, s := range group {
		sum += s.Percent
	}
	if sum == 0 || sum == 100 {
		return group
	}
	var out []model.Share
	left := 100
	for i, s := range group {
		part := s.Percent * 100 / sum
		if i == len(group)-1 {
			part = left
		}
		if part > 0 {
			out = append(out, model.Share{Revision: s.Revision, Percent: part})
			left -= part
		}
	}
	return out
}

// sort sorts shares and tags by name, so that the same split makes the same rule.
func (s *split) sort() {
	for _, group := range s.groups {
		slices.SortFunc(group, func(a, b model.Share) int { return a.Revision.Compare(b.Revision) })
	}
	slices.SortFunc(s.tags, func(a, b model.TagShare) int { return strings.Compare(a.Tag, b.Tag) })
}
