package world

import (
	"slices"
	"sync"

	"sluice.dev/sluice/model"
)

// Assembler holds the pieces of the newest World. The reconcilers replace one piece at a time; World returns complete Worlds,
// which share every piece that did not change. Its methods may be called from any goroutine.
type Assembler struct {
	// Set once.
	token   string        // of activators
	changed chan struct{} // receives after a change, until World has been called

	// Guarded by mu.
	mu         sync.Mutex
	generation uint64           // of the next World: a piece that is set now appears in it
	gateway    model.Gateway    // with all certificates
	listeners  model.Gateway    // with those of the installation alone
	activators []model.Endpoint // sorted
	routes     []*model.Route   // sorted by key
	backends   []*model.Backend // sorted by revision: those that a route names or that keep has named
	known      map[model.Key]*model.Backend
	uses       map[model.Key]int      // how many shares and tags name a revision
	kept       map[model.Key]struct{} // revisions that stay in the World without a route: they still run
	unrouted   map[model.Key]uint64   // the generation from which on no route names a revision that one did name
	routed     map[model.Key]uint64   // the generation in which a route got its present form
	programmed uint64                 // the newest generation that every gateway has acknowledged
	mappings   map[model.Key]*Mapping
	mapped     map[model.Key]map[model.Key]struct{} // the mappings of a route
}

// NewAssembler makes an Assembler without routes and backends. The token of activators goes into each World as it is.
func NewAssembler(g model.Gateway, activatorToken string) *Assembler {
	return &Assembler{
		gateway: g, listeners: g, token: activatorToken, changed: make(chan struct{}, 1), generation: 1,
		known: map[model.Key]*model.Backend{}, uses: map[model.Key]int{}, kept: map[model.Key]struct{}{},
		unrouted: map[model.Key]uint64{}, routed: map[model.Key]uint64{},
		mappings: map[model.Key]*Mapping{}, mapped: map[model.Key]map[model.Key]struct{}{},
	}
}

// Changed receives after a change, until World has been called.
func (a *Assembler) Changed() <-chan struct{} { return a.changed }

// Signal has Changed receive although no piece has changed.
func (a *Assembler) Signal() { a.signal() }

func (a *Assembler) signal() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// World returns the World of the pieces as they are now.
func (a *Assembler) World() *model.World {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &model.World{
		Generation: a.generation, Gateway: a.gateway, ActivatorToken: a.token,
		Routes: slices.Clone(a.routes), Backends: slices.Clone(a.backends), Activators: a.activators,
	}
	a.generation++
	return w
}

// Acknowledge notes that every gateway has a World. It returns the owners of the routes of that World which no World before it had in
// their present form.
func (a *Assembler) Acknowledge(generation uint64) (programmed []model.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.routes {
		if at := a.routed[r.Key]; at > a.programmed && at <= generation {
			programmed = append(programmed, r.Owner)
		}
	}
	a.programmed = max(a.programmed, generation)
	return programmed
}

// SetGateway replaces where the gateway listens, and with which certificates.
func (a *Assembler) SetGateway(g model.Gateway) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners = g
	a.collectCertificates()
	a.signal()
}

// setActivators replaces the addresses of all activators. When they differ, it returns the generation in which they appear.
func (a *Assembler) setActivators(endpoints []model.Endpoint) (generation uint64, changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(a.activators, endpoints) {
		return 0, false
	}
	a.activators = endpoints
	a.signal()
	return a.generation, true
}

// SetRoute adds or replaces a route. It reports whether the route had this form already.
func (a *Assembler) SetRoute(r *model.Route) (unchanged bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if unchanged = a.place(r); !unchanged {
		a.placeMappings(r)
	}
	return unchanged
}

// place puts a route into the World.
func (a *Assembler) place(r *model.Route) (unchanged bool) {
	at, found := a.findRoute(r.Key)
	switch {
	case !found:
		a.routes = slices.Insert(a.routes, at, r)
		a.use(r)
	case a.routes[at].Equal(*r):
		return true
	default:
		before := a.routes[at]
		a.routes[at] = r
		a.use(r)
		a.release(before)
	}
	a.routed[r.Key] = a.generation
	a.signal()
	return false
}

// RemoveRoute removes a route.
func (a *Assembler) RemoveRoute(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.take(k)
	for mapping := range a.mapped[k] {
		a.take(mapping)
	}
}

// take takes a route out of the World.
func (a *Assembler) take(k model.Key) {
	at, found := a.findRoute(k)
	if !found {
		return
	}
	before := a.routes[at]
	a.routes = slices.Delete(a.routes, at, at+1)
	a.release(before)
	delete(a.routed, k)
	a.signal()
}

// Current returns the rules of a route as they were last set, and whether every gateway has them. They are nil when there
// is none, and until a gateway has acknowledged any World: until then gateways serve what the process before this one sent.
func (a *Assembler) Current(k model.Key) (rules []model.Rule, programmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(k)
	if !found || a.programmed == 0 {
		return nil, false
	}
	return a.routes[at].Rules, a.routed[k] <= a.programmed
}

// setBackend adds or replaces the backend of a revision. When it differs, setBackend returns the generation in which it appears.
func (a *Assembler) setBackend(b *model.Backend) (generation uint64, changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if have, ok := a.known[b.Revision]; ok && have.Equal(*b) {
		return 0, false
	}
	a.known[b.Revision] = b
	if _, kept := a.kept[b.Revision]; kept && a.uses[b.Revision] == 0 {
		a.insertBackend(b)
	}
	a.refresh(b.Revision)
	return a.generation, true
}

// removeBackend removes the backend of a revision. While a route still names the revision, it stays as one without endpoints.
func (a *Assembler) removeBackend(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.known[k]; !ok {
		return
	}
	delete(a.known, k)
	delete(a.kept, k)
	delete(a.unrouted, k)
	a.drop(k)
	a.refresh(k)
}

// Keep says whether a revision stays in the World when no route names it.
func (a *Assembler) Keep(revision model.Key, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, kept := a.kept[revision]; kept == yes {
		return
	}
	if !yes {
		delete(a.kept, revision)
		a.drop(revision)
		return
	}
	a.kept[revision] = struct{}{}
	if b, ok := a.known[revision]; ok && a.uses[revision] == 0 {
		a.insertBackend(b)
		a.signal()
	}
}

// MayGetRequests says whether a gateway may still have a route that names a revision.
func (a *Assembler) MayGetRequests(k model.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uses[k] > 0 || a.unrouted[k] > a.programmed
}

// use counts the mentions of revisions in a route, and inserts the backends that become used.
func (a *Assembler) use(r *model.Route) {
	for _, revision := range revisionsOf(r) {
		a.uses[revision]++
		if a.uses[revision] == 1 {
			delete(a.unrouted, revision)
			a.insertBackend(a.backend(revision))
		}
	}
}

// release undoes use, and drops the backends that no route names any more.
func (a *Assembler) release(r *model.Route) {
	for _, revision := range revisionsOf(r) {
		a.uses[revision]--
		if a.uses[revision] > 0 {
			continue
		}
		delete(a.uses, revision)
		a.unrouted[revision] = a.generation
		a.drop(revision)
	}
}

// drop removes a revision from the World, unless a route names it or it is kept.
func (a *Assembler) drop(revision model.Key) {
	if _, kept := a.kept[revision]; kept || a.uses[revision] > 0 {
		return
	}
	if at, found := a.findBackend(revision); found {
		a.backends = slices.Delete(a.backends, at, at+1)
		a.signal()
	}
}

// refresh replaces the backend of a revision that is in the World by what is known of it now.
func (a *Assembler) refresh(k model.Key) {
	if at, found := a.findBackend(k); found {
		a.backends[at] = a.backend(k)
		a.signal()
	}
}

// backend returns what is known of a revision. A revision that a route names and that does not exist is one without endpoints.
func (a *Assembler) backend(revision model.Key) *model.Backend {
	if b, ok := a.known[revision]; ok {
		return b
	}
	return &model.Backend{
		Revision: revision, Owner: model.Ref{Kind: "Revision", Key: revision}, Protocol: model.HTTP1, Via: model.ViaReplicas,
	}
}

func (a *Assembler) insertBackend(b *model.Backend) {
	at, found := a.findBackend(b.Revision)
	if found {
		a.backends[at] = b
		return
	}
	a.backends = slices.Insert(a.backends, at, b)
}

func (a *Assembler) findBackend(k model.Key) (int, bool) {
	return slices.BinarySearchFunc(a.backends, k, func(have *model.Backend, k model.Key) int { return have.Revision.Compare(k) })
}

func (a *Assembler) findRoute(k model.Key) (int, bool) {
	return slices.BinarySearchFunc(a.routes, k, func(have *model.Route, k model.Key) int { return have.Key.Compare(k) })
}

// revisionsOf lists every mention of a revision in a route, repeated ones too.
func revisionsOf(r *model.Route) []model.Key {
	var all []model.Key
	for _, rule := range r.Rules {
		for _, s := range rule.Shares {
			all = append(all, s.Revision)
		}
		for _, t := range rule.TagHeader {
			all = append(all, t.Revision)
		}
	}
	return all
}
