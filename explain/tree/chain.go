package tree

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/explain"
)

// chain makes the tree: the Service contains its Configuration and Route, the Route the revisions, hosts and clients.
func chain(e *explain.Explanation) *node {
	root := &node{}
	top := root
	if e.Service != nil {
		top = addObject(root, "Service", *e.Service, "")
		if e.Route == nil || len(e.Configurations) == 0 {
			addConditions(top, e.Service.Conditions) // otherwise the Route and the Configuration have the same ones, with their causes
		}
	}
	for _, c := range e.Configurations {
		n := addObject(top, "Configuration", c.Object, latest(c))
		if !reported(e, c) {
			addConditions(n, c.Conditions)
		}
	}
	if e.Route != nil {
		top = addObject(top, "Route", e.Route.Object, "")
		addConditions(top, e.Route.Conditions)
		addTraffic(top, e.Route)
	}
	for _, r := range e.Revisions {
		addRevision(top, r)
	}
	if e.OtherRevisions > 0 && e.Route != nil {
		top.add(faint, "%s, without any of these requests", count(e.OtherRevisions, "more revision", "more revisions"))
	}
	asked := !slices.ContainsFunc(e.Broken, func(l explain.Link) bool { return l.Link == explain.LinkXDS })
	addHostGroups(top, e.Hosts, asked)
	addClients(top, e, asked)
	return root
}

// addHostGroups adds the groups of hosts. It merges hosts within the cluster with those from outside where they are alike.
func addHostGroups(parent *node, groups []explain.HostGroup, asked bool) {
	for i := 0; i < len(groups); i++ {
		n := addHosts(parent, groups[i], asked)
		if i+1 < len(groups) && alike(groups[i], groups[i+1]) {
			i++
			vh := groups[i].VirtualHost
			n.add(plain, "also %s  listener %s (%s)", strings.Join(groups[i].Hosts, ", "), vh.Listener, vh.Address)
		}
	}
}

func addObject(parent *node, kind string, o explain.Object, more string) *node {
	if o.Observed < o.Generation {
		return parent.add(bad, "%s %s  generation %d, not observed yet: the status is of generation %d%s",
			kind, o.Name, o.Generation, o.Observed, more)
	}
	return parent.add(plain, "%s %s  generation %d%s", kind, o.Name, o.Generation, more)
}

// addConditions adds all conditions but Ready. Ready repeats one of the others, and is added only when it is alone.
func addConditions(n *node, all []explain.Condition) {
	for _, c := range all {
		if c.Type == "Ready" && len(all) > 1 {
			continue
		}
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

// reported says whether the conditions of the newest revision say what is wrong with a Configuration.
func reported(e *explain.Explanation, c explain.Configuration) bool {
	namespace, _, _ := strings.Cut(c.Name, "/")
	return slices.ContainsFunc(e.Revisions, func(r explain.Revision) bool {
		return r.Name == namespace+"/"+c.LatestCreated && len(r.Conditions) > 0
	})
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

// given says which revisions have the requests of a target.
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
	addConditions(n, r.Conditions)
	if r.Scale != "" {
		scale := n.add(plain, "autoscaler: %s", r.Scale)
		for _, asked := range r.Asked {
			scale.add(plain, "%s", asked)
		}
	}
	if r.Cluster != nil {
		addCluster(n, r.Cluster)
	}
}

var ways = map[string]string{
	explain.ViaReplicas: "straight to the replicas", explain.ViaActivator: "through the activator", explain.ViaNobody: "to nobody",
}

func addCluster(parent *node, c *explain.Cluster) {
	t := plain
	if c.Via == explain.ViaNobody {
		t = bad
	}
	n := parent.add(t, "cluster %s  %s: %s", c.Name, ways[c.Via], c.Why)
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

// alike says whether the hosts within the cluster lead to the same as those from outside.
func alike(outside, within explain.HostGroup) bool {
	return within.Local && outside.Tag == within.Tag && outside.VirtualHost != nil && within.VirtualHost != nil &&
		len(within.Lost) == 0 && slices.Equal(outside.VirtualHost.Clusters, within.VirtualHost.Clusters)
}

func addHosts(parent *node, g explain.HostGroup, asked bool) *node {
	text := strings.Join(g.Hosts, ", ")
	if g.URL != "" {
		text += "  " + g.URL
	}
	n := parent.add(plain, "%s", text)
	for _, l := range g.Lost {
		n.add(bad, "%s is %s's", l.Host, l.Holder)
	}
	switch vh := g.VirtualHost; {
	case vh != nil:
		n.add(plain, "virtual host %s  listener %s (%s): %s", vh.Name, vh.Listener, vh.Address, answers(vh))
	case asked && len(g.Lost) == 0:
		n.add(faint, "no virtual host")
	}
	return n
}

// answers says who answers the requests of a virtual host.
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
			if c.Role == contract.Activator {
				text += " before a request comes"
			}
		case explain.StateBehind:
			text, t = fmt.Sprintf("%s for %.3g s: %s", text, c.BehindSeconds, some(c.Behind)), bad
		}
		client := n.add(t, "%s", text)
		for _, r := range c.Rejects {
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
