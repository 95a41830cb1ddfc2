package tree

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/explain"
)

// chain makes the tree: the Service holds its Configuration and Route, the Route what becomes of requests.
func chain(e *explain.Explanation) *node {
	root := &node{}
	top := root
	if e.Service != nil {
		top = addObject(root, "Service", *e.Service, "")
	}
	for _, c := range e.Configurations {
		addObject(top, "Configuration", c.Object, latest(c))
	}
	if e.Route != nil {
		top = addObject(top, "Route", e.Route.Object, "")
		addTraffic(top, e.Route)
	}
	for _, r := range e.Revisions {
		addRevision(top, r)
	}
	if e.OtherRevisions > 0 && e.Route != nil {
		top.add(faint, "%s without requests", count(e.OtherRevisions, "more revision", "more revisions"))
	}
	asked := !slices.ContainsFunc(e.Broken, func(l explain.Link) bool { return l.Link == explain.LinkXDS })
	for _, g := range e.Hosts {
		addHosts(top, g, asked)
	}
	addClients(top, e, asked)
	return root
}

func addObject(parent *node, kind string, o explain.Object, more string) *node {
	text := fmt.Sprintf("%s %s", kind, o.Name)
	t := plain
	switch {
	case o.Observed < o.Generation:
		text += fmt.Sprintf("  generation %d, not seen yet: the status tells of %d", o.Generation, o.Observed)
		t = bad
	default:
		text += fmt.Sprintf("  generation %d, seen", o.Generation)
	}
	n := parent.add(t, "%s%s", text, more)
	for _, c := range o.Conditions {
		addCondition(n, c)
	}
	return n
}

func addCondition(n *node, c explain.Condition) {
	t := plain
	if c.Status == "False" && c.Type != "Active" {
		t = bad
	}
	text := c.Type + " " + c.Status
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	if c.Message != "" {
		text += ": " + strings.Join(strings.Fields(c.Message), " ")
	}
	n.add(t, "%s", text)
}

func latest(c explain.Configuration) string {
	switch {
	case c.LatestCreated == "":
		return "; no revision yet"
	case c.LatestReady == "":
		return fmt.Sprintf("; %s is not ready, and none before it was", c.LatestCreated)
	case c.LatestCreated != c.LatestReady:
		return fmt.Sprintf("; %s is not ready, latest ready is %s", c.LatestCreated, c.LatestReady)
	}
	return "; latest ready is " + c.LatestReady
}

func addTraffic(parent *node, r *explain.Route) {
	traffic := parent.add(plain, "traffic")
	for _, t := range r.Targets {
		who := "to " + t.Revision
		if t.Revision == "" {
			who = "to the latest ready revision of " + t.Configuration
		}
		if t.Tag != "" {
			who += ", tag " + t.Tag
		}
		text, tone := fmt.Sprintf("asked %d %% %s: given %s", t.Asked, who, given(t)), plain
		if t.Why != "" {
			text, tone = text+"; "+t.Why, bad
		}
		if len(r.Rollouts) > 0 {
			tone = plain
		}
		traffic.add(tone, "%s", text)
	}
	for _, o := range r.Rollouts {
		text := "gradual rollout of " + o.Configuration
		if o.Tag != "" {
			text += ", tag " + o.Tag
		}
		text += ": " + shares(o.Shares)
		if o.Next != nil {
			text += fmt.Sprintf("; %d %% more at %s", o.Step, o.Next.Local().Format("15:04:05"))
		}
		traffic.add(plain, "%s", text)
	}
}

// given is who has what a target asks for.
func given(t explain.Target) string {
	switch {
	case len(t.Given) == 0:
		return "nothing"
	case len(t.Given) == 1 && t.Given[0].Revision == t.Revision:
		return fmt.Sprintf("%d %%", t.Given[0].Percent)
	}
	return shares(t.Given)
}

func shares(all []explain.Share) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = fmt.Sprintf("%d %% to %s", s.Percent, s.Revision)
	}
	return strings.Join(parts, ", ")
}

func addRevision(parent *node, r explain.Revision) {
	text, t := fmt.Sprintf("Revision %s  %d %%", r.Name, r.Percent), plain
	if len(r.Tags) > 0 {
		text += ", tag " + strings.Join(r.Tags, ", ")
	}
	switch r.Ready {
	case "True":
		text += ", ready"
	case "":
		text, t = text+", does not exist", bad
	case "False":
		text, t = text+", failed", bad
	default:
		text += ", not ready yet"
	}
	if r.Desired != nil && r.Actual != nil {
		text += fmt.Sprintf(", %s of %d asked for", count(*r.Actual, "replica", "replicas"), *r.Desired)
	}
	n := parent.add(t, "%s", text)
	for _, c := range r.Conditions {
		if c.Type != "Ready" { // which says the same as one of the others
			addCondition(n, c)
		}
	}
	if r.Scale != "" {
		n.add(plain, "autoscaler: %s", r.Scale)
	}
	if r.Cluster != nil {
		addCluster(n, r.Cluster)
	}
}

func addCluster(parent *node, c *explain.Cluster) {
	t := plain
	if c.Via == explain.ViaNobody {
		t = bad
	}
	n := parent.add(t, "cluster %s  by way of %s: %s", c.Name, c.Via, c.Why)
	for _, z := range c.Zones {
		n.add(plain, "priority %d  zone %s  %s", z.Priority, z.Name, some(z.Endpoints))
	}
}

// mostListed bounds how many addresses or names a line has.
const mostListed = 6

func some(names []string) string {
	if len(names) <= mostListed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostListed], ", "), len(names)-mostListed)
}

func addHosts(parent *node, g explain.HostGroup, asked bool) {
	text := strings.Join(g.Hosts, ", ")
	if g.URL != "" {
		text += "  " + g.URL
	}
	n := parent.add(plain, "%s", text)
	for _, l := range g.Lost {
		n.add(bad, "%s is %s's", l.Host, l.Holder)
	}
	switch vh := g.VirtualHost; {
	case vh == nil && asked && len(g.Lost) == 0:
		n.add(faint, "no virtual host")
	case vh == nil:
	default:
		n.add(plain, "virtual host %s  listener %s (%s): %s", vh.Name, vh.Listener, vh.Address, answers(vh))
	}
}

// answers is who answers for a virtual host.
func answers(vh *explain.VirtualHost) string {
	if len(vh.Clusters) == 0 {
		return fmt.Sprintf("answers %d itself", vh.Answers)
	}
	parts := make([]string, len(vh.Clusters))
	for i, c := range vh.Clusters {
		parts[i] = fmt.Sprintf("%d to cluster %s", c.Weight, c.Cluster)
	}
	return strings.Join(parts, ", ")
}

func addClients(parent *node, e *explain.Explanation, asked bool) {
	if e.Route == nil {
		return
	}
	if !asked {
		parent.add(bad, "clients: unknown, for the xDS server cannot be asked")
		return
	}
	n := parent.add(plain, "clients")
	for _, c := range e.Clients {
		text, t := fmt.Sprintf("%s %s  %s", c.Role, c.ID, c.State), bad
		switch c.State {
		case explain.StateInSync:
			t = good
		case explain.StateAside:
			t = faint
		case explain.StateBehind:
			text, t = fmt.Sprintf("%s for %.3g s: %s", text, c.BehindSeconds, some(c.Behind)), bad
		}
		client := n.add(t, "%s", text)
		for _, r := range c.Refuses {
			client.add(bad, "%s %s: %s", r.Type, r.Name, r.Text)
		}
	}
	if len(e.Clients) == 0 {
		n.add(bad, "none is connected")
	}
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
