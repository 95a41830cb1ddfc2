package explain

import (
	"maps"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// hostIndex finds the virtual host that has a domain.
type hostIndex map[string]*VirtualHost

// newHostIndex joins each virtual host with the listeners that serve it.
func newHostIndex(o Offer) hostIndex {
	index := hostIndex{}
	for _, routes := range slices.Sorted(maps.Keys(o.VirtualHosts)) {
		var listeners, addresses []string
		for _, name := range slices.Sorted(maps.Keys(o.Listeners)) {
			if l := o.Listeners[name]; l.Routes == routes {
				listeners, addresses = append(listeners, name), append(addresses, l.Address)
			}
		}
		if len(listeners) == 0 {
			continue // no listener uses it
		}
		for _, vh := range o.VirtualHosts[routes] {
			vh.Listener, vh.Address = strings.Join(listeners, ", "), strings.Join(addresses, ", ")
			for _, domain := range vh.Domains {
				index[domain] = &vh
			}
		}
	}
	return index
}

func (c *chain) describeHosts() {
	c.hosts = newHostIndex(c.Views.Offered)
	if c.mapping() != nil {
		c.addHosts(HostGroup{Hosts: []string{c.Query.Host}})
		return
	}
	tags := tagsOf(c.route)
	if c.claim != nil {
		tags = []string{c.claim.Tag}
	}
	for _, tag := range tags {
		external, local := c.options.Hosts(c.route, tag)
		if c.claim == nil || !c.claim.Local {
			c.addHosts(HostGroup{Hosts: external, Tag: tag, URL: c.url(tag)})
		}
		if c.claim == nil || c.claim.Local {
			c.addHosts(HostGroup{Hosts: local, Tag: tag, Local: true})
		}
	}
}

func (c *chain) addHosts(g HostGroup) {
	if len(g.Hosts) == 0 {
		return
	}
	own := c.virtualHost(g.Tag)
	for _, h := range g.Hosts {
		vh := c.hosts[h]
		switch {
		case vh == nil:
		case vh.Name == own:
			g.VirtualHost = vh
		default:
			g.Lost = append(g.Lost, Lost{h, holder(vh.Name)})
		}
	}
	c.out.Hosts = append(c.out.Hosts, g)
}

// url returns the URL of a tag, or of the Route itself, from the status.
func (c *chain) url(tag string) string {
	if tag == "" {
		return c.route.URL
	}
	for _, s := range c.route.Served {
		if s.Tag == tag {
			return s.URL
		}
	}
	return ""
}

func virtualHostName(route model.Key, tag string) string {
	if tag == "" {
		return route.String()
	}
	return route.String() + "/" + tag
}

// holder returns the Route that a virtual host belongs to.
func holder(virtualHost string) string {
	parts := strings.SplitN(virtualHost, "/", 3)
	return servingRoute + " " + strings.Join(parts[:min(2, len(parts))], "/")
}
