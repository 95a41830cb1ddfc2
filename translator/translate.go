package translator

import (
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// memo is what an Output keeps for the next translation. It is immutable: several Outputs share its parts.
type memo struct {
	activators []model.Endpoint
	token      string // of the activators
	backends   table[*model.Backend, backendPart]
	routes     table[*model.Route, routePart]
	// hosts has which Routes claim a host name, refs which Routes name a revision.
	hosts, refs index
	gateway     *gatewayPart
	// troubled is how many backends, and how many routes, have Problems.
	troubled [2]int
}

// Translate returns the resources of a World. prev is the Output of an earlier World, or nil: it saves work and does not change the result.
// Of two objects of one kind with the same key, the first counts.
func Translate(w *model.World, prev *Output) *Output {
	if w == nil {
		w = &model.World{}
	}
	if prev == nil {
		prev = &Output{}
	}
	gateway := startGateway(w.Gateway, &prev.memo)
	if old := prev.memo.gateway; old != nil && old.form != gateway.form {
		// The form of the routes has changed. That is rare, so everything is translated anew.
		prev, gateway = &Output{}, startGateway(w.Gateway, &memo{})
	}
	next := &Output{}
	next.memo.gateway = gateway
	activators := addresses(w.Activators)
	if slices.Equal(activators, prev.memo.activators) {
		activators = prev.memo.activators
	}
	next.memo.activators, next.memo.token = activators, w.ActivatorToken
	appeared := next.memo.translateBackends(w.Backends, &prev.memo)
	next.memo.translateRoutes(w.Routes, &prev.memo, appeared)
	gateway.finish(&next.memo, &prev.memo)
	next.collect(prev)
	return next
}

// translateBackends returns the revisions that became routable, those that ceased to be, and those whose timeout changed.
func (m *memo) translateBackends(now []*model.Backend, prev *memo) []model.Key {
	build := func(old *backendPart, in *model.Backend) *backendPart { return translateBackend(old, in, m.activators) }
	before := prev.backends
	if !slices.Equal(m.activators, prev.activators) {
		before = before.rebuilt(build)
	}
	var edits []edit[backendPart]
	m.backends, edits = before.update(now, backendKey, build)
	var changed []model.Key
	for _, e := range edits {
		was, is := e.old != nil && e.old.served, e.new != nil && e.new.served
		switch {
		case was && !is:
			changed = append(changed, e.old.unit.at.key)
		case is && (!was || e.old.timeout != e.new.timeout):
			changed = append(changed, e.new.unit.at.key)
		}
	}
	return changed
}

// translateRoutes translates the Routes that changed, and those that a change elsewhere concerns: a host that was released or claimed, or a
// revision that came or went (appeared).
func (m *memo) translateRoutes(now []*model.Route, prev *memo, appeared []model.Key) {
	var edits []edit[routePart]
	m.routes, edits = prev.routes.update(now, routeKey, draftRoute)
	concerned := m.updateIndexes(prev, edits)
	for _, revision := range appeared {
		for _, e := range m.refs.of(revision.String()) {
			concerned[e.by.key] = true
		}
	}
	if len(concerned) == 0 {
		return
	}
	if len(edits) == 0 {
		m.routes.parts = slices.Clone(m.routes.parts)
	}
	for key := range concerned {
		if i, found := slices.BinarySearchFunc(m.routes.in, key, compareRoute); found {
			m.routes.parts[i] = m.finishRoute(m.routes.parts[i])
		}
	}
}

// updateIndexes returns the Routes that the edits concern: their own, and those that share a host with them.
func (m *memo) updateIndexes(prev *memo, edits []edit[routePart]) map[model.Key]bool {
	concerned := map[model.Key]bool{}
	var goneHosts, newHosts, goneRefs, newRefs []entry
	for _, e := range edits {
		if e.new != nil {
			concerned[e.new.draft.by.key] = true
		}
		if e.old != nil && e.new != nil && e.old.draft.by == e.new.draft.by {
			continue
		}
		if e.old != nil {
			hosts, refs := e.old.draft.by.entries()
			goneHosts, goneRefs = append(goneHosts, hosts...), append(goneRefs, refs...)
		}
		if e.new != nil {
			hosts, refs := e.new.draft.by.entries()
			newHosts, newRefs = append(newHosts, hosts...), append(newRefs, refs...)
		}
	}
	m.hosts, m.refs = prev.hosts.update(goneHosts, newHosts), prev.refs.update(goneRefs, newRefs)
	for _, e := range slices.Concat(goneHosts, newHosts) {
		for _, rival := range m.hosts.of(e.name) {
			concerned[rival.by.key] = true
		}
	}
	return concerned
}

func (c *claimant) entries() (hosts, refs []entry) {
	for _, h := range c.hosts {
		hosts = append(hosts, entry{h, c})
	}
	for _, r := range c.refs {
		refs = append(refs, entry{r.String(), c})
	}
	return hosts, refs
}

// finishRoute resolves a Route against the rest of the World, and encodes it unless the resolution is the same as before.
func (m *memo) finishRoute(part *routePart) *routePart {
	var found resolution
	for _, h := range part.draft.by.hosts {
		if winner := m.hosts.of(h)[0].by; winner != part.draft.by {
			found.lost = append(found.lost, loss{h, winner.key, part.draft.by.yields && !winner.yields})
		}
	}
	found.missing, found.timeout = m.lookUp(part.draft.by.refs)
	if part.finished && part.equal(found) {
		return part
	}
	return part.finish(found, m.gateway.form)
}

// lookUp returns those of the revisions that are not routable, and the longest timeout of the others; 0, none, if one of them has none.
func (m *memo) lookUp(revisions []model.Key) (missing []model.Key, timeout time.Duration) {
	endless := false
	for _, r := range revisions {
		i, found := slices.BinarySearchFunc(m.backends.in, r, compareBackend)
		if !found || !m.backends.parts[i].served {
			missing = append(missing, r)
			continue
		}
		timeout = max(timeout, m.backends.parts[i].timeout)
		endless = endless || m.backends.parts[i].timeout == 0
	}
	if endless {
		timeout = 0
	}
	return missing, timeout
}

// outcome is what every part contributes to an Output.
type outcome struct {
	unit     *Unit
	problems []model.Problem
}

func (o *outcome) result() *outcome { return o }

// collect concatenates the Units and the Problems of all parts, and reuses those of prev where they are the same.
func (o *Output) collect(prev *Output) {
	m, old := &o.memo, &prev.memo
	oldBackends, oldRoutes := prev.Units, prev.Units
	if len(prev.Units) > 0 {
		oldBackends, oldRoutes = prev.Units[:len(old.backends.parts)], prev.Units[len(old.backends.parts)+1:]
	}
	o.Units = make([]*Unit, 0, len(m.backends.parts)+1+len(m.routes.parts))
	o.Units, m.troubled[0] = collect(o.Units, oldBackends, old.troubled[0], old.backends.parts, m.backends.parts)
	o.Units = append(o.Units, m.gateway.unit)
	o.Units, m.troubled[1] = collect(o.Units, oldRoutes, old.troubled[1], old.routes.parts, m.routes.parts)

	o.Problems = appendProblems(nil, m.troubled[0], m.backends.parts)
	o.Problems = append(o.Problems, m.gateway.problems...)
	o.Problems = appendProblems(o.Problems, m.troubled[1], m.routes.parts)
}

// part is a part of the translation; the pointer to it has its outcome.
type part[P any] interface {
	*P
	result() *outcome
}

// collect appends the Units of now to units, and returns how many parts have Problems. oldUnits and troubled are the same of the parts
// before. It does not read parts that were there before: at ten thousand parts that is most of the cost.
func collect[P any, PP part[P]](units, oldUnits []*Unit, troubled int, before, now []*P) ([]*Unit, int) {
	d := difference(before, now)
	units = append(units, oldUnits[:d.from]...)
	for _, p := range before[d.from:d.oldTo] {
		if len(PP(p).result().problems) > 0 {
			troubled--
		}
	}
	for _, p := range now[d.from:d.newTo] {
		units = append(units, PP(p).result().unit)
		if len(PP(p).result().problems) > 0 {
			troubled++
		}
	}
	return append(units, oldUnits[d.oldTo:]...), troubled
}

func appendProblems[P any, PP part[P]](problems []model.Problem, troubled int, parts []*P) []model.Problem {
	if troubled == 0 {
		return problems
	}
	for _, p := range parts {
		problems = append(problems, PP(p).result().problems...)
	}
	return problems
}

func routeKey(r *model.Route) model.Key     { return r.Key }
func backendKey(b *model.Backend) model.Key { return b.Revision }

func compareRoute(r *model.Route, key model.Key) int     { return r.Key.Compare(key) }
func compareBackend(b *model.Backend, key model.Key) int { return b.Revision.Compare(key) }
