package translator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// draft is a Route by itself, checked and in order, before its hosts and references are resolved.
type draft struct {
	in       *model.Route
	by       *claimant
	rules    []model.Rule
	problems []model.Problem
}

// loss is a host name that another Route keeps.
type loss struct {
	host   string
	winner model.Key
	// yielded says that the other Route need not be older.
	yielded bool
}

// resolution is what follows for a Route from the rest of the World: the hosts and revisions that it cannot have, and the longest timeout
// of the revisions that it has; 0 is none.
type resolution struct {
	lost    []loss
	missing []model.Key
	timeout time.Duration
}

func (r *resolution) equal(other resolution) bool {
	return slices.Equal(r.lost, other.lost) && slices.Equal(r.missing, other.missing) && r.timeout == other.timeout
}

// routePart is the translation of a Route. Until it is finished it has a draft, and the unit of its predecessor.
type routePart struct {
	draft    *draft
	finished bool
	resolution
	// http and local are its part of the gateway's RouteConfigurations.
	http, local chunk
	outcome
}

// draftRoute checks a Route. It reuses the claimant of old if that is equal.
func draftRoute(old *routePart, in *model.Route) *routePart {
	d := &draft{in: in, by: &claimant{key: in.Key, created: in.Created, yields: in.Yields}}
	if err := checkKey(in.Key); err != nil {
		d.report("InvalidName", "%s", err)
	} else {
		d.takeRules()
	}
	slices.SortFunc(d.problems, func(a, b model.Problem) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	slices.Sort(d.by.hosts)
	d.by.hosts = slices.Compact(d.by.hosts)
	slices.SortFunc(d.by.refs, model.Key.Compare)
	d.by.refs = slices.Compact(d.by.refs)
	part := &routePart{draft: d}
	if old != nil {
		part.unit = old.unit
		if old.draft.by.equal(d.by) {
			d.by = old.draft.by
		}
	}
	return part
}

func (d *draft) report(reason, format string, args ...any) {
	d.problems = append(d.problems, model.Problem{Owner: d.in.Owner, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// takeRules copies the Rules of the Route, the default one first and then by tag, without what is wrong in them.
func (d *draft) takeRules() {
	rules := slices.Clone(d.in.Rules)
	slices.SortStableFunc(rules, func(a, b model.Rule) int { return cmp.Compare(a.Tag, b.Tag) })
	taken := map[string]string{}
	for i, r := range rules {
		if i > 0 && rules[i-1].Tag == r.Tag {
			d.report("DuplicateTag", "%s is defined twice in Route %s; the first definition is served", ruleName(r.Tag), d.in.Key)
			continue
		}
		if r.Tag != "" && !validName(r.Tag) {
			d.report("InvalidTag", "tag %q is left out: a tag consists of lower-case letters, digits, '-' and '.'", r.Tag)
			continue
		}
		r.Hosts = d.takeHosts(r, r.Hosts, taken)
		r.LocalHosts = d.takeHosts(r, r.LocalHosts, taken)
		r.Shares = d.takeShares(r)
		r.TagHeader = d.takeTagHeader(r)
		d.rules = append(d.rules, r)
	}
}

// takeHosts returns the valid hosts. taken says which Rule of this Route has a host already.
func (d *draft) takeHosts(r model.Rule, hosts []string, taken map[string]string) []string {
	var usable []string
	for _, h := range hosts {
		h = strings.ToLower(h)
		if !validHost(h) {
			d.report("InvalidHost", "host %q is left out: want a DNS name without a port", h)
			continue
		}
		if tag, ok := taken[h]; ok && tag != r.Tag {
			d.report("DuplicateHost", "host %q is claimed by both %s and %s; the former keeps it", h, ruleName(tag), ruleName(r.Tag))
			continue
		}
		taken[h] = r.Tag
		usable = append(usable, h)
	}
	d.by.hosts = append(d.by.hosts, usable...)
	slices.Sort(usable)
	return slices.Compact(usable)
}

// takeShares returns the shares sorted by revision, with one share for each revision.
func (d *draft) takeShares(r model.Rule) []model.Share {
	var shares []model.Share
	sum := 0
	for _, s := range r.Shares {
		if s.Percent < 1 || s.Percent > 100 {
			d.report("InvalidTraffic", "%s gives revision %s %d percent, which is left out; want 1 to 100",
				ruleName(r.Tag), s.Revision, s.Percent)
			continue
		}
		sum += s.Percent
		d.by.refs = append(d.by.refs, s.Revision)
		if i := slices.IndexFunc(shares, func(other model.Share) bool { return other.Revision == s.Revision }); i >= 0 {
			shares[i].Percent += s.Percent
			continue
		}
		shares = append(shares, s)
	}
	if sum != 100 && len(r.Shares) > 0 {
		d.report("InvalidTraffic", "the traffic of %s sums to %d percent, want 100; it is split in proportion", ruleName(r.Tag), sum)
	}
	slices.SortFunc(shares, func(a, b model.Share) int { return a.Revision.Compare(b.Revision) })
	return shares
}

func (d *draft) takeTagHeader(r model.Rule) []model.TagShare {
	var tags []model.TagShare
	for _, t := range r.TagHeader {
		if !validName(t.Tag) {
			d.report("InvalidTag", "tag %q is left out: a tag consists of lower-case letters, digits, '-' and '.'", t.Tag)
			continue
		}
		d.by.refs = append(d.by.refs, t.Revision)
		tags = append(tags, t)
	}
	slices.SortFunc(tags, func(a, b model.TagShare) int {
		return cmp.Or(cmp.Compare(a.Tag, b.Tag), a.Revision.Compare(b.Revision))
	})
	return slices.CompactFunc(tags, func(a, b model.TagShare) bool { return a.Tag == b.Tag })
}

func ruleName(tag string) string {
	if tag == "" {
		return "the default rule"
	}
	return "tag " + tag
}

// conflicts says which hosts a Route lost, in one sentence per winner: two Routes that share a name share several hosts.
func conflicts(owner model.Ref, route model.Key, lost []loss) []model.Problem {
	var problems []model.Problem
	for rest := lost; len(rest) > 0; {
		winner, claim := rest[0].winner, "which is older"
		if rest[0].yielded {
			claim = "whose own name it is"
		}
		var hosts []string
		var others []loss
		for _, l := range rest {
			if l.winner == winner {
				hosts = append(hosts, strconv.Quote(l.host))
			} else {
				others = append(others, l)
			}
		}
		rest = others
		problems = append(problems, model.Problem{Owner: owner, Reason: "DomainConflict",
			Message: fmt.Sprintf("Route %s, %s, has %s; Route %s is served without", winner, claim, strings.Join(hosts, ", "), route)})
	}
	return problems
}

// finish encodes the Route without the hosts that it lost and the revisions that are missing.
func (p *routePart) finish(r resolution, f form) *routePart {
	next := &routePart{draft: p.draft, finished: true, resolution: r}
	next.problems = slices.Clone(p.draft.problems)
	owner := p.draft.in.Owner
	next.problems = append(next.problems, conflicts(owner, p.draft.in.Key, r.lost)...)
	for _, revision := range r.missing {
		next.problems = append(next.problems, model.Problem{Owner: owner, Reason: "RevisionMissing",
			Message: fmt.Sprintf("Route %s sends requests to revision %s, which does not exist; "+
				"until it does, its share goes to the others, and is answered 503 if there are none", p.draft.in.Key, revision)})
	}
	var b resourceBuilder
	for _, rule := range p.draft.rules {
		v := newVirtualHost(p.draft.in.Key, resolve(rule, r.lost, r.missing))
		v.answerWithin = r.timeout
		v.http, v.httpsPort = f.secure.of(rule), f.secure.port
		if err := next.addGateway(v, f.scoping, &b); err != nil {
			b.err = err
		}
		v.addMesh(&b)
	}
	if b.err != nil {
		next.problems = append(next.problems, model.Problem{Owner: owner, Reason: "InvalidResource", Message: b.err.Error()})
		next.http, next.local, b.resources = chunk{}, chunk{}, nil
	}
	next.unit = newUnit(p.unit, "route "+p.draft.in.Key.String(), position{kindRoute, p.draft.in.Key}, b.resources)
	return next
}

// addGateway adds a Rule's virtual hosts for the gateway: to the Route's part of the gateway's RouteConfigurations, or as
// scopes of their own.
func (p *routePart) addGateway(v virtualHost, scoped scoping, b *resourceBuilder) error {
	if scoped.on {
		scoped.add(v, b)
		return nil
	}
	return errors.Join(p.http.add(v.gateway(listenerHTTP, v.rule.Hosts)), p.local.add(v.gateway(listenerLocal, v.rule.LocalHosts)))
}

// resolve removes from a Rule what the Route cannot have, and makes the remaining shares sum to 100.
func resolve(r model.Rule, lost []loss, missing []model.Key) model.Rule {
	isLost := func(host string) bool {
		return slices.ContainsFunc(lost, func(l loss) bool { return l.host == host })
	}
	r.Hosts = slices.DeleteFunc(slices.Clone(r.Hosts), isLost)
	r.LocalHosts = slices.DeleteFunc(slices.Clone(r.LocalHosts), isLost)
	r.Shares = toHundred(slices.DeleteFunc(slices.Clone(r.Shares), func(s model.Share) bool {
		return slices.Contains(missing, s.Revision)
	}))
	r.TagHeader = slices.DeleteFunc(slices.Clone(r.TagHeader), func(t model.TagShare) bool { return slices.Contains(missing, t.Revision) })
	return r
}

// toHundred scales shares to a sum of 100 by largest remainders; of equal remainders the first gains.
func toHundred(shares []model.Share) []model.Share {
	sum := 0
	for _, s := range shares {
		sum += s.Percent
	}
	if sum == 0 || sum == 100 {
		return shares
	}
	left, order := 100, make([]int, len(shares))
	remainders := make([]int, len(shares))
	for i, s := range shares {
		order[i] = i
		shares[i].Percent, remainders[i] = s.Percent*100/sum, s.Percent*100%sum
		left -= shares[i].Percent
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainders[b], remainders[a]) })
	for _, i := range order[:left] {
		shares[i].Percent++
	}
	return slices.DeleteFunc(shares, func(s model.Share) bool { return s.Percent == 0 })
}
