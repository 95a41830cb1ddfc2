package explain

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// check finds the broken links, causes before consequences.
func (c *chain) check() {
	c.checkGeneration()
	for i := range c.out.Revisions {
		c.checkRevision(&c.out.Revisions[i])
	}
	for i := range c.out.Configurations {
		c.checkConfiguration(&c.out.Configurations[i])
	}
	c.checkRoute()
	c.checkHosts()
	if f := c.Unknown; f != nil {
		c.broken(Link{Link: LinkXDS, Object: f.Who, Reason: "Unreachable", Message: f.Message, Remedy: f.Remedy})
	} else if c.route != nil {
		c.checkOffer()
		c.checkClients()
	}
	c.checkRest()
}

// checkGeneration compares the generation of an object with the one that its status has: of the Service, or else of the Route or
// Configuration.
func (c *chain) checkGeneration() {
	kind, o := servingService, c.out.Service
	if o == nil && c.out.Route != nil {
		kind, o = servingRoute, &c.out.Route.Object
	}
	if o == nil && len(c.out.Configurations) > 0 {
		kind, o = servingConfiguration, &c.out.Configurations[0].Object
	}
	if o != nil && o.Observed < o.Generation {
		c.broken(Link{
			Link: LinkGeneration, Object: kind + " " + o.Name, Reason: "OutOfDate",
			Message: fmt.Sprintf("The control plane has not seen generation %d of %s %s; its status is of generation %d",
				o.Generation, kind, o.Name, o.Observed),
			Remedy: "Ask again in a moment; if it stays so, see whether the control plane (sluice up) runs, and what it logs",
		})
	}
	if o != nil && kind == servingService {
		for _, condition := range o.Conditions {
			if condition.Reason == "NotOwned" {
				c.broken(Link{
					Link: LinkObject, Object: kind + " " + o.Name, Reason: condition.Reason, Message: condition.Message, Stops: true,
					Remedy: "Delete that object, or give the Service another name",
				})
			}
		}
	}
}

// unserved says that the Route has no split in force, so that no revision serves its requests.
func (c *chain) unserved() bool { return len(c.shares()) == 0 }

func (c *chain) checkRevision(r *Revision) {
	_, name, _ := strings.Cut(r.Name, "/")
	has := r.Percent > 0 || c.claim == nil && len(r.Tags) > 0
	waits := r.Actual == nil || *r.Actual == 0
	l := Link{Link: LinkRevision, Object: servingRevision + " " + r.Name, Reason: r.Reason}
	switch model.Status(r.Ready) {
	case model.True:
		return
	case model.False:
		l.Message = fmt.Sprintf("%s%s failed (%s): %s", l.Object, c.part(r), r.Reason, r.Message)
		l.Remedy = remedy(r.Reason, c.key(name))
		l.Stops = has && waits || c.unserved()
	case model.Unknown:
		l.Message = fmt.Sprintf("%s%s is not ready yet", l.Object, c.part(r))
		if r.Message != "" {
			l.Message += ": " + r.Message
		}
		l.Remedy = "Ask again in a moment; what the replicas print is in their logs"
		l.Stops = c.unserved()
	default:
		l.Reason = "RevisionMissing"
		l.Message = fmt.Sprintf("%s%s does not exist", l.Object, c.part(r))
		l.Remedy = "Name another in spec.traffic, or make it"
		l.Stops = r.Percent > 0 || c.unserved()
	}
	c.broken(l)
}

// part says which part of the requests a revision gets, or is to get.
func (c *chain) part(r *Revision) string {
	_, name, _ := strings.Cut(r.Name, "/")
	if r.Percent > 0 {
		return fmt.Sprintf(", which gets %d %% of the requests,", r.Percent)
	}
	if c.route == nil {
		return ""
	}
	for _, t := range c.targets() {
		o, ok := find(c.out.Configurations, func(o Configuration) bool { return o.Name == c.key(t.Configuration).String() })
		if t.Revision == name || t.Revision == "" && ok && o.LatestCreated == name {
			return fmt.Sprintf(", which is to get %d %% of the requests,", t.Percent)
		}
	}
	return ""
}

func (c *chain) checkConfiguration(o *Configuration) {
	for _, condition := range o.Conditions {
		newest := servingRevision + " " + c.key(o.LatestCreated).String()
		if condition.Type != model.Ready || condition.Status != string(model.False) || c.isBroken(LinkRevision, newest) {
			continue
		}
		c.broken(Link{
			Link: LinkConfiguration, Object: servingConfiguration + " " + o.Name, Reason: condition.Reason,
			Message: fmt.Sprintf("Configuration %s has made no revision of its newest template: %s", o.Name, condition.Message),
			Remedy:  remedy(condition.Reason, c.key(o.LatestCreated)), Stops: c.unserved(),
		})
	}
}

func (c *chain) checkRoute() {
	if c.route == nil {
		c.checkNoRoute()
		return
	}
	for _, condition := range c.out.Route.Conditions {
		cause := c.isBroken(LinkRevision, "") || c.isBroken(LinkConfiguration, "")
		l := Link{
			Link: LinkRoute, Object: servingRoute + " " + c.route.Key.String(), Reason: condition.Reason,
			Remedy: remedy(condition.Reason, c.route.Key),
		}
		switch {
		case condition.Type == model.AllTrafficAssigned && !cause:
			l.Message = fmt.Sprintf("%s does not split traffic as asked: %s", l.Object, condition.Message)
			l.Stops = c.unserved()
		case condition.Reason == model.ResourceRejected && c.Unknown == nil: // checkClients reports it, with the client's own text
			continue
		case condition.Type == model.IngressReady && condition.Status == string(model.False):
			l.Message = fmt.Sprintf("%s is not served as asked: %s", l.Object, condition.Message)
			if condition.Reason == domainConflict {
				l.Link, l.Message, l.Stops = LinkHost, condition.Message, c.lostAll()
			}
		default:
			continue
		}
		c.broken(l)
	}
}

func (c *chain) checkNoRoute() {
	if c.isBroken(LinkRevision, "") || c.isBroken(LinkConfiguration, "") {
		return
	}
	key := c.key(c.Query.Key.Name)
	l := Link{
		Link: LinkRoute, Object: servingRoute + " " + key.String(), Reason: "NotFound", Stops: true,
		Message: fmt.Sprintf("There is no Route %s", key),
		Remedy:  fmt.Sprintf("Make a Route that names Configuration %s, and ask for that", key),
	}
	if c.service != nil {
		l.Message = fmt.Sprintf("Service %s has no Route yet", key)
		l.Remedy = "Ask again in a moment; if it stays so, see what the control plane logs"
	}
	c.broken(l)
}

const domainConflict = "DomainConflict"

// lostAll says that other Routes have all hosts of a group that the question is about.
func (c *chain) lostAll() bool {
	return slices.ContainsFunc(c.out.Hosts, func(g HostGroup) bool { return len(g.Lost) == len(g.Hosts) })
}

// checkHosts reports hosts that other Routes have, when the Route's condition does not yet.
func (c *chain) checkHosts() {
	if c.isBroken(LinkHost, "") {
		return
	}
	for _, g := range c.out.Hosts {
		if len(g.Lost) == 0 {
			continue
		}
		c.broken(Link{
			Link: LinkHost, Object: "host " + g.Lost[0].Host, Reason: domainConflict, Stops: len(g.Lost) == len(g.Hosts),
			Message: fmt.Sprintf("%s has %s, which Route %s asks for", g.Lost[0].Holder, g.Lost[0].Host, c.route.Key),
			Remedy:  remedy(domainConflict, c.route.Key),
		})
	}
}

// checkOffer checks that the resources for gateways lead a request to an endpoint.
func (c *chain) checkOffer() {
	for _, g := range c.out.Hosts {
		c.checkVirtualHost(g)
	}
	for _, r := range c.out.Revisions {
		if r.Percent == 0 && (c.claim != nil || len(r.Tags) == 0) || c.isBroken(LinkRevision, servingRevision+" "+r.Name) {
			continue
		}
		switch {
		case r.Cluster == nil:
			c.broken(Link{
				Link: LinkCluster, Object: "cluster " + r.Name, Reason: "NotOffered", Stops: true,
				Message: fmt.Sprintf("The xDS server offers no cluster for Revision %s", r.Name),
				Remedy:  "Ask again in a moment; if it stays so, see what the control plane logs",
			})
		case r.Cluster.Via == ViaNobody:
			c.broken(Link{
				Link: LinkEndpoints, Object: "cluster " + r.Name, Reason: "NoEndpoints", Stops: true,
				Message: fmt.Sprintf("Cluster %s has no endpoint: %s", r.Name, r.Cluster.Why),
				Remedy:  "Connect an activator (sluice activator), or set min-scale for the revision",
			})
		}
	}
}

func (c *chain) checkVirtualHost(g HostGroup) {
	name := virtualHostName(c.route.Key, g.Tag)
	switch vh := g.VirtualHost; {
	case vh != nil && len(vh.Clusters) == 0 && len(c.out.Broken) == 0:
		c.broken(Link{
			Link: LinkVirtualHost, Object: "virtual host " + name, Reason: "NoRevision", Stops: true,
			Message: fmt.Sprintf("Virtual host %s answers %d: no revision is served yet", name, vh.Answers),
			Remedy:  "Ask again in a moment",
		})
	case vh != nil, len(g.Lost) > 0, c.isBroken(LinkRevision, "") && c.unserved():
	case g.Local && !c.servesLocal():
		if c.claim != nil {
			c.broken(Link{
				Link: LinkVirtualHost, Object: "host " + c.Query.Host, Reason: "NoListener", Stops: true,
				Message: "No gateway listens for hosts within the cluster",
				Remedy:  "Start sluice up with --local",
			})
		}
	default:
		c.broken(Link{
			Link: LinkVirtualHost, Object: "virtual host " + name, Reason: "NotOffered", Stops: g.Tag == "" || c.claim != nil,
			Message: fmt.Sprintf("The xDS server offers no virtual host %s for %s", name, strings.Join(g.Hosts, ", ")),
			Remedy:  "Ask again in a moment; if it stays so, see what the control plane logs",
		})
	}
}

// servesLocal says whether there is a listener for hosts within the cluster.
func (c *chain) servesLocal() bool {
	_, ok := c.Views.Offered.Listeners["local"]
	return ok
}

// checkRest reports a condition that no earlier link explains. A rollout under way explains all.
func (c *chain) checkRest() {
	if len(c.out.Broken) > 0 || len(c.shifts()) > 0 || c.claim != nil {
		return
	}
	kind, o := servingService, c.out.Service
	if o == nil && c.out.Route != nil {
		kind, o = servingRoute, &c.out.Route.Object
	}
	if o == nil {
		return
	}
	for _, condition := range o.Conditions {
		if condition.Type == model.Ready {
			continue
		}
		c.broken(Link{
			Link: LinkRoute, Object: kind + " " + o.Name, Reason: condition.Reason,
			Message: fmt.Sprintf("%s %s says %s %s (%s): %s", kind, o.Name, condition.Type, condition.Status,
				condition.Reason, condition.Message),
			Remedy: remedy(condition.Reason, c.route.Key),
		})
		return
	}
}
