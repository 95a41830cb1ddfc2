package explain

import (
	"cmp"
	"fmt"
	"slices"

	"sluice.dev/sluice/model"
)

const servingMapping = "DomainMapping"

// MappingOf returns the DomainMapping of a domain, nil when there is none: the one that has claimed the domain, or else the oldest.
func MappingOf(mappings []*model.Mapping, domain string) *model.Mapping {
	var named []*model.Mapping
	for _, m := range mappings {
		if m.Key.Name == domain {
			named = append(named, m)
		}
	}
	claims := func(m *model.Mapping) int {
		if model.FindCondition(m.Conditions, model.DomainClaimed).Status == model.True {
			return 0
		}
		return 1
	}
	slices.SortFunc(named, func(a, b *model.Mapping) int {
		return cmp.Or(claims(a)-claims(b), a.Created.Compare(b.Created), a.Key.Compare(b.Key))
	})
	if len(named) == 0 {
		return nil
	}
	return named[0]
}

// claimOf returns who has a host: a Route, or else a DomainMapping with the Route of its target, which is nil when that does not exist.
func (c *chain) claimOf(host string) *Claim {
	if claims := Claims(c.Objects.Routes, host); len(claims) > 0 {
		return &claims[0]
	}
	m := MappingOf(c.Objects.Mappings, host)
	if m == nil {
		return nil
	}
	route, _ := find(c.Objects.Routes, func(r *model.RouteSpec) bool { return r.Key == m.Target.Key })
	return &Claim{Route: route, Mapping: m}
}

// mapping returns the DomainMapping that the question is about, nil when it is about none.
func (c *chain) mapping() *model.Mapping {
	if c.claim == nil {
		return nil
	}
	return c.claim.Mapping
}

// hostOwner returns the kind and name of the object whose hosts the question is about.
func (c *chain) hostOwner() string {
	if m := c.mapping(); m != nil {
		return servingMapping + " " + m.Key.String()
	}
	return servingRoute + " " + c.route.Key.String()
}

// virtualHost returns the name of the virtual host of a tag's hosts.
func (c *chain) virtualHost(tag string) string {
	if m := c.mapping(); m != nil {
		return m.Key.String()
	}
	return virtualHostName(c.route.Key, tag)
}

// checkMapping reports the conditions of a DomainMapping that are False. Without its certificate a domain is served all the same.
func (c *chain) checkMapping() {
	m := c.mapping()
	if m == nil {
		return
	}
	if m.Observed < m.Generation {
		c.broken(Link{
			Link: LinkGeneration, Object: c.hostOwner(), Reason: "OutOfDate",
			Message: fmt.Sprintf("The control plane has not seen generation %d of %s; its status is of generation %d",
				m.Generation, c.hostOwner(), m.Observed),
			Remedy: "Ask again in a moment; if it stays so, see whether the control plane runs, and what it logs",
		})
	}
	for _, condition := range m.Conditions {
		rejected := condition.Reason == model.ResourceRejected && c.Unknown == nil // checkClients reports it, with the client's own text
		if condition.Type == model.Ready || condition.Status != model.False || rejected {
			continue
		}
		c.broken(Link{
			Link: LinkHost, Object: c.hostOwner(), Reason: condition.Reason, Remedy: remedy(condition.Reason, m.Key),
			Message: fmt.Sprintf("%s is not as asked: %s", c.hostOwner(), condition.Message),
			Stops:   condition.Type == model.DomainClaimed || condition.Type == model.ReferenceResolved,
		})
	}
}
