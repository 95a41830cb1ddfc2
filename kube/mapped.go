package kube

import (
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// mapping is a DomainMapping in the assembler: a route of the World with the shares of another.
type mapping struct {
	// route has one Rule without shares.
	route  *model.Route
	target model.Key
	// certificate is that of its host; nil when there is none.
	certificate *model.Certificate
}

// setMapping adds or replaces a mapping. Its route changes together with that of its target, in the same World.
func (a *assembler) setMapping(m *mapping) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := m.route.Key
	if before := a.mappings[key]; before != nil && before.target != m.target {
		a.forgetMapping(key)
	}
	a.mappings[key] = m
	if a.mapped[m.target] == nil {
		a.mapped[m.target] = map[model.Key]struct{}{}
	}
	a.mapped[m.target][key] = struct{}{}
	if at, found := a.findRoute(m.target); found {
		a.place(m.follow(a.routes[at]))
	} else {
		a.take(key)
	}
	a.collectCertificates()
}

// removeMapping removes a mapping, its route and its certificate.
func (a *assembler) removeMapping(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetMapping(k)
	a.take(k)
	a.collectCertificates()
}

func (a *assembler) forgetMapping(k model.Key) {
	m := a.mappings[k]
	if m == nil {
		return
	}
	delete(a.mappings, k)
	delete(a.mapped[m.target], k)
	if len(a.mapped[m.target]) == 0 {
		delete(a.mapped, m.target)
	}
}

// placeMappings puts the routes of all mappings of a route into the World.
func (a *assembler) placeMappings(target *model.Route) {
	for key := range a.mapped[target.Key] {
		a.place(a.mappings[key].follow(target))
	}
}

// follow returns the route of the mapping with the shares that the Route of its target has on its own hosts.
func (m *mapping) follow(target *model.Route) *model.Route {
	r := *m.route
	r.Rules = slices.Clone(r.Rules)
	if len(target.Rules) > 0 && target.Rules[0].Tag == "" {
		r.Rules[0].Shares, r.Rules[0].TagHeader = target.Rules[0].Shares, target.Rules[0].TagHeader
	}
	return &r
}

// collectCertificates adds the certificates of mappings to those of the installation. One certificate may be for several mappings.
func (a *assembler) collectCertificates() {
	byName := map[string]*model.Certificate{}
	for _, m := range a.mappings {
		if m.certificate == nil {
			continue
		}
		c := byName[m.certificate.Name]
		if c == nil {
			c = new(*m.certificate)
			c.Hosts = nil
			byName[c.Name] = c
		}
		c.Hosts = append(c.Hosts, m.certificate.Hosts...)
	}
	g := a.listeners
	g.Certificates = slices.Clone(g.Certificates)
	g.NoDefault = g.NoDefault || len(g.Certificates) == 0 && len(byName) > 0
	own := len(g.Certificates)
	for _, c := range byName {
		slices.Sort(c.Hosts)
		g.Certificates = append(g.Certificates, *c)
	}
	slices.SortFunc(g.Certificates[own:], func(a, b model.Certificate) int { return strings.Compare(a.Name, b.Name) })
	if !g.Equal(a.gateway) {
		a.gateway = g
		a.signal()
	}
}

// serves says whether any gateway has acknowledged a World, and whether every gateway has the route of a mapping as it is now, to revisions
// that have been ready.
func (a *assembler) serves(k model.Key) (known, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(k)
	known = a.programmed > 0
	return known, known && found && len(a.routes[at].Rules[0].Shares) > 0 && a.routed[k] <= a.programmed
}

// secure says whether the gateway listens for HTTPS as soon as there is a certificate.
func (a *assembler) secure() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.listeners.HTTPS != ""
}

// setDefaultCertificate replaces the certificates of the installation by one.
func (a *assembler) setDefaultCertificate(c model.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners.Certificates = []model.Certificate{c}
	a.collectCertificates()
}
