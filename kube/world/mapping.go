package world

import (
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// Mapping is a DomainMapping in the assembler: a route of the World with the shares of another.
type Mapping struct {
	// Route has one Rule without shares.
	Route  *model.Route
	Target model.Key
	// Certificate is that of its host; nil when there is none.
	Certificate *model.Certificate
}

// SetMapping adds or replaces a mapping. Its route changes together with that of its target, in the same World.
func (a *Assembler) SetMapping(m *Mapping) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := m.Route.Key
	if before := a.mappings[key]; before != nil && before.Target != m.Target {
		a.forgetMapping(key)
	}
	a.mappings[key] = m
	if a.mapped[m.Target] == nil {
		a.mapped[m.Target] = map[model.Key]struct{}{}
	}
	a.mapped[m.Target][key] = struct{}{}
	if at, found := a.findRoute(m.Target); found {
		a.place(m.follow(a.routes[at]))
	} else {
		a.take(key)
	}
	a.collectCertificates()
}

// RemoveMapping removes a mapping, its route and its certificate.
func (a *Assembler) RemoveMapping(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetMapping(k)
	a.take(k)
	a.collectCertificates()
}

func (a *Assembler) forgetMapping(k model.Key) {
	m := a.mappings[k]
	if m == nil {
		return
	}
	delete(a.mappings, k)
	delete(a.mapped[m.Target], k)
	if len(a.mapped[m.Target]) == 0 {
		delete(a.mapped, m.Target)
	}
}

// placeMappings puts the routes of all mappings of a route into the World.
func (a *Assembler) placeMappings(target *model.Route) {
	for key := range a.mapped[target.Key] {
		a.place(a.mappings[key].follow(target))
	}
}

// follow returns the route of the mapping with the shares that the Route of its target has on its own hosts.
func (m *Mapping) follow(target *model.Route) *model.Route {
	r := *m.Route
	r.Rules = slices.Clone(r.Rules)
	if len(target.Rules) > 0 && target.Rules[0].Tag == "" {
		r.Rules[0].Shares, r.Rules[0].TagHeader = target.Rules[0].Shares, target.Rules[0].TagHeader
	}
	return &r
}

// collectCertificates adds the certificates of mappings to those of the installation. One certificate may be for several mappings.
func (a *Assembler) collectCertificates() {
	byName := map[string]*model.Certificate{}
	for _, m := range a.mappings {
		if m.Certificate == nil {
			continue
		}
		c := byName[m.Certificate.Name]
		if c == nil {
			c = new(*m.Certificate)
			c.Hosts = nil
			byName[c.Name] = c
		}
		c.Hosts = append(c.Hosts, m.Certificate.Hosts...)
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

// Serves says whether any gateway has acknowledged a World, and whether every gateway has the route of a mapping as it is now, to revisions
// that have been ready.
func (a *Assembler) Serves(k model.Key) (known, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(k)
	known = a.programmed > 0
	return known, known && found && len(a.routes[at].Rules[0].Shares) > 0 && a.routed[k] <= a.programmed
}

// Secure says whether the gateway listens for HTTPS as soon as there is a certificate.
func (a *Assembler) Secure() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.listeners.HTTPS != ""
}

// SetDefaultCertificate replaces the certificates of the installation by one.
func (a *Assembler) SetDefaultCertificate(c model.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners.Certificates = []model.Certificate{c}
	a.collectCertificates()
}
