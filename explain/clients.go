package explain

import (
	"cmp"
	"slices"
	"strings"

	"sluice.dev/sluice/contract"
)

// describeClients describes which resources of the chain each client has.
func (c *chain) describeClients() {
	wanted := c.wanted()
	for _, v := range c.Views.Clients {
		c.out.Clients = append(c.out.Clients, c.client(v, wanted))
	}
	slices.SortStableFunc(c.out.Clients, func(a, b Client) int {
		return cmp.Or(cmp.Compare(roleOrder(a.Role), roleOrder(b.Role)), cmp.Compare(a.ID, b.ID))
	})
}

func (c *chain) client(v View, wanted map[resourceName]bool) Client {
	out := Client{ID: v.ID, Role: v.Role, State: StateAside}
	takes := false
	for _, r := range v.Resources {
		if !wanted[resourceName{r.Kind, r.Name}] || r.Absent {
			continue
		}
		takes = true
		switch {
		case r.Rejected != "":
			out.Rejects = append(out.Rejects, Rejection{r.Kind, r.Name, line(r.Rejected), r.Without})
		case !r.Acknowledged:
			out.Behind = append(out.Behind, r.Kind+" "+r.Name)
		}
	}
	if v.Role == contract.Gateway && !v.Unknown {
		lacking := c.lacking(v)
		takes, out.Behind = takes || len(lacking) > 0, append(out.Behind, lacking...)
	}
	out.conclude(v, takes)
	return out
}

// conclude sets the state of a client; takes says that it has subscribed to a resource of the chain.
func (c *Client) conclude(v View, takes bool) {
	switch {
	case v.Unknown:
		c.State, c.BehindSeconds = StateUnknown, v.Lag.Seconds()
	case len(c.Rejects) > 0:
		c.State = StateRejects
	case len(c.Behind) > 0:
		c.State, c.BehindSeconds = StateBehind, v.Lag.Seconds()
	case takes:
		c.State = StateInSync
	}
}

// roleOrder sorts roles in the order in which a request passes them; gRPC clients come last.
func roleOrder(role string) int {
	switch role {
	case contract.Gateway:
		return 0
	case contract.Activator:
		return 1
	}
	return 2
}

type resourceName struct{ kind, name string }

// wanted returns the resources of the chain, for all roles.
func (c *chain) wanted() map[resourceName]bool {
	out := map[resourceName]bool{}
	for _, g := range c.out.Hosts {
		name := virtualHostName(c.route.Key, g.Tag)
		out[resourceName{KindRoutes, name}] = true // a gRPC client's
		for _, h := range g.Hosts {
			out[resourceName{KindListener, h}] = true
			out[resourceName{KindListener, h + ":80"}] = true
		}
		if g.VirtualHost == nil {
			continue
		}
		for listener := range strings.SplitSeq(g.VirtualHost.Listener, ", ") {
			out[resourceName{KindListener, listener}] = true
			for _, r := range c.routesOf(listener, g) {
				out[r] = true
			}
		}
	}
	for _, r := range c.out.Revisions {
		if r.Cluster != nil {
			out[resourceName{KindCluster, r.Cluster.Name}] = true
			out[resourceName{KindAssignment, r.Cluster.Name}] = true
		}
	}
	return out
}

// routesOf returns the resources with the routes of a group of hosts at a listener.
func (c *chain) routesOf(listener string, g HostGroup) []resourceName {
	l := c.Views.Offered.Listeners[listener]
	if !l.Scoped {
		return []resourceName{{KindRoutes, l.Routes}}
	}
	var scopes []resourceName
	for _, h := range g.Hosts {
		if vh := c.hosts[h]; vh != nil && vh.Name == g.VirtualHost.Name {
			scopes = append(scopes, resourceName{KindScope, l.Routes + "/" + h}, resourceName{KindRoutes, vh.Routes})
		}
	}
	return scopes
}

// lacking returns the resources of the chain that a gateway, which subscribes to everything, has not been sent.
func (c *chain) lacking(v View) []string {
	has := map[resourceName]bool{}
	for _, r := range v.Resources {
		has[resourceName{r.Kind, r.Name}] = true
	}
	var out []string
	lack := func(kind, name string) {
		if n := (resourceName{kind, name}); !has[n] {
			has[n] = true
			out = append(out, kind+" "+name)
		}
	}
	for _, g := range c.out.Hosts {
		if g.VirtualHost == nil {
			continue
		}
		for listener := range strings.SplitSeq(g.VirtualHost.Listener, ", ") {
			lack(KindListener, listener)
			for _, r := range c.routesOf(listener, g) {
				lack(r.kind, r.name)
			}
		}
	}
	for _, r := range c.out.Revisions {
		if r.Cluster != nil && (r.Percent > 0 || len(r.Tags) > 0) {
			lack(KindCluster, r.Cluster.Name)
			lack(KindAssignment, r.Cluster.Name)
		}
	}
	return out
}
