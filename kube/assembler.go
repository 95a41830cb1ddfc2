package kube

import (
	"slices"
	"sync"

	"sluice.dev/sluice/model"
)

// assembler holds the pieces of the newest World and puts them together. The reconcilers hand it one piece at
// a time; it hands out complete Worlds that share every piece that did not change.
type assembler struct {
	gateway model.Gateway
	token   string // of activators
	wake    chan struct{}

	mu       sync.Mutex
	routes   []*model.Route   // sorted by key
	backends []*model.Backend // sorted by revision; those that a route names
	known    map[model.Key]*model.Backend
	uses     map[model.Key]int // how many shares and tags name a revision
	// kept are the revisions that stay in the World without a route that names them: they still run.
	kept       map[model.Key]bool
	activators []model.Endpoint // sorted
	// moving are the revisions whose requests go through activators from a generation on, behind those of which every
	// client knows that. backed is told when a revision joins or leaves the latter.
	moving map[model.Key]uint64
	behind map[model.Key]struct{}
	backed func(revision model.Key, yes bool)
	// generation numbers the World that is being gathered: pieces set now appear in it.
	generation uint64
	// complete says that there can be Worlds. Before, expected are the objects that must still become known, nil while
	// it is not known which those are.
	complete  bool
	completed chan struct{} // closed when complete
	expected  map[model.Ref]struct{}
	// settled are the objects that became known while expected was not known yet.
	settled map[model.Ref]struct{}
	// left is the generation from which on no route names a revision that one did name.
	left map[model.Key]uint64
	// appears is the generation in which a route became what it is now.
	appears    map[model.Key]uint64
	programmed uint64
}

func newAssembler(g model.Gateway, backed func(model.Key, bool)) *assembler {
	return &assembler{
		gateway: g, wake: make(chan struct{}, 1), generation: 1, backed: backed, completed: make(chan struct{}),
		known: map[model.Key]*model.Backend{}, uses: map[model.Key]int{}, kept: map[model.Key]bool{},
		moving: map[model.Key]uint64{}, behind: map[model.Key]struct{}{},
		settled: map[model.Ref]struct{}{}, appears: map[model.Key]uint64{}, left: map[model.Key]uint64{},
	}
}

func (a *assembler) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// setRoute adds or replaces a route. It reports whether it was there in this form already.
func (a *assembler) setRoute(r *model.Route) (unchanged bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(r.Key)
	switch {
	case !found:
		a.routes = slices.Insert(a.routes, at, r)
		a.use(r)
	case sameRoute(a.routes[at], r):
		return true
	default:
		before := a.routes[at]
		a.routes[at] = r
		a.use(r)
		a.release(before)
	}
	a.appears[r.Key] = a.generation
	a.signal()
	return false
}

// current returns the rules of a route as they were last set, and whether every gateway has them. They are nil when there
// is none, and until a gateway has acknowledged any World: what it serves is still what it did before we came.
func (a *assembler) current(k model.Key) (rules []model.Rule, programmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(k)
	if !found || a.programmed == 0 {
		return nil, false
	}
	return a.routes[at].Rules, a.appears[k] <= a.programmed
}

// removeRoute forgets a route.
func (a *assembler) removeRoute(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, found := a.findRoute(k)
	if !found {
		return
	}
	before := a.routes[at]
	a.routes = slices.Delete(a.routes, at, at+1)
	a.release(before)
	delete(a.appears, k)
	a.signal()
}

// use counts the mentions of revisions in a route, and takes in the backends that become used.
func (a *assembler) use(r *model.Route) {
	for _, revision := range revisionsOf(r) {
		a.uses[revision]++
		if a.uses[revision] == 1 {
			delete(a.left, revision)
			a.insertBackend(a.backend(revision))
		}
	}
}

// release takes back what use counted, and takes out the backends that no route names any more.
func (a *assembler) release(r *model.Route) {
	for _, revision := range revisionsOf(r) {
		a.uses[revision]--
		if a.uses[revision] > 0 {
			continue
		}
		delete(a.uses, revision)
		a.left[revision] = a.generation
		a.leave(revision)
	}
}

// leave takes a revision out of the World, unless a route names it or it is kept.
func (a *assembler) leave(revision model.Key) {
	if at, found := a.findBackend(revision); found && a.uses[revision] == 0 && !a.kept[revision] {
		a.backends = slices.Delete(a.backends, at, at+1)
		a.signal()
	}
}

// keep has a revision stay in the World, or leave it, when no route names it.
func (a *assembler) keep(revision model.Key, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kept[revision] == yes {
		return
	}
	if !yes {
		delete(a.kept, revision)
		a.leave(revision)
		return
	}
	a.kept[revision] = true
	if b, ok := a.known[revision]; ok && a.uses[revision] == 0 {
		a.insertBackend(b)
		a.signal()
	}
}

// setGateway replaces where the gateway listens, and with which certificates.
func (a *assembler) setGateway(g model.Gateway) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gateway = g
	a.signal()
}

// setActivators replaces the addresses of all activators.
func (a *assembler) setActivators(endpoints []model.Endpoint) {
	if len(endpoints) > 0 {
		defer func() { a.settle(someActivator) }() // when they are in
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(a.activators, endpoints) {
		return
	}
	a.activators = endpoints
	a.signal()
	if len(endpoints) > 0 {
		return
	}
	for revision := range a.behind { // whoever stood behind them stands alone
		a.moving[revision] = a.generation
		delete(a.behind, revision)
		a.backed(revision, false)
	}
}

// reach notes that every client has a World, and with it that requests of some revisions go through activators.
func (a *assembler) reach(generation uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.activators) == 0 {
		return
	}
	for revision, since := range a.moving {
		if since <= generation {
			delete(a.moving, revision)
			a.behind[revision] = struct{}{}
			a.backed(revision, true)
		}
	}
}

// follow notes when a revision's requests begin or end to go through activators.
func (a *assembler) follow(b *model.Backend) {
	_, moving := a.moving[b.Revision]
	_, behind := a.behind[b.Revision]
	switch via := b.Via == model.ViaActivator; {
	case via && !moving && !behind:
		a.moving[b.Revision] = a.generation
	case !via:
		delete(a.moving, b.Revision)
		if behind {
			delete(a.behind, b.Revision)
			a.backed(b.Revision, false)
		}
	}
}

// backend returns what is known of a revision. A route may name one that is gone: it has no endpoints then.
func (a *assembler) backend(revision model.Key) *model.Backend {
	if b, ok := a.known[revision]; ok {
		return b
	}
	return &model.Backend{Revision: revision, Owner: model.Ref{Kind: "Revision", Key: revision}, Protocol: model.HTTP1, Via: model.ViaReplicas}
}

func (a *assembler) insertBackend(b *model.Backend) {
	at, found := a.findBackend(b.Revision)
	if found {
		a.backends[at] = b
		return
	}
	a.backends = slices.Insert(a.backends, at, b)
}

func (a *assembler) findBackend(k model.Key) (int, bool) {
	return slices.BinarySearchFunc(a.backends, k, func(have *model.Backend, k model.Key) int { return have.Revision.Compare(k) })
}

func (a *assembler) findRoute(k model.Key) (int, bool) {
	return slices.BinarySearchFunc(a.routes, k, func(have *model.Route, k model.Key) int { return have.Key.Compare(k) })
}

// setBackend adds or replaces what is known of a revision.
func (a *assembler) setBackend(b *model.Backend) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if have, ok := a.known[b.Revision]; ok && sameBackend(have, b) {
		return
	}
	a.known[b.Revision] = b
	a.follow(b)
	if a.kept[b.Revision] && a.uses[b.Revision] == 0 {
		a.insertBackend(b)
	}
	a.replaceUsed(b.Revision)
}

// mayGetRequests says whether a gateway may still have a route that names a revision.
func (a *assembler) mayGetRequests(k model.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uses[k] > 0 || a.left[k] > a.programmed
}

// removeBackend forgets a revision. While a route still names it, it stays as one without endpoints.
func (a *assembler) removeBackend(k model.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.known[k]; !ok {
		return
	}
	delete(a.known, k)
	delete(a.moving, k)
	delete(a.behind, k)
	delete(a.kept, k)
	delete(a.left, k)
	a.leave(k)
	a.replaceUsed(k)
}

func (a *assembler) replaceUsed(k model.Key) {
	if at, used := a.findBackend(k); used {
		a.backends[at] = a.backend(k)
		a.signal()
	}
}

// world returns the World as it is now, or nil while the first one is not complete.
func (a *assembler) world() *model.World {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.complete {
		return nil
	}
	w := &model.World{
		Generation: a.generation, Gateway: a.gateway, ActivatorToken: a.token,
		Routes: slices.Clone(a.routes), Backends: slices.Clone(a.backends), Activators: a.activators,
	}
	a.generation++
	return w
}

// acknowledge notes that every gateway has a World, and returns the routes that this newly holds for.
func (a *assembler) acknowledge(generation uint64) []model.Key {
	a.mu.Lock()
	defer a.mu.Unlock()
	var fresh []model.Key
	for _, r := range a.routes {
		if at := a.appears[r.Key]; at > a.programmed && at <= generation {
			fresh = append(fresh, r.Key)
		}
	}
	a.programmed = max(a.programmed, generation)
	return fresh
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

func sameBackend(a, b *model.Backend) bool {
	return a.Revision == b.Revision && a.Owner == b.Owner && a.Protocol == b.Protocol && a.Direct == b.Direct && a.Via == b.Via &&
		a.Activators == b.Activators && a.Concurrency == b.Concurrency && a.Timeout == b.Timeout &&
		sameFailure(a.Failure, b.Failure) && a.Start == b.Start && slices.Equal(a.Endpoints, b.Endpoints)
}

func sameFailure(a, b *model.Failure) bool { return a == b || a != nil && b != nil && *a == *b }

func sameRoute(a, b *model.Route) bool {
	return a.Key == b.Key && a.Owner == b.Owner && a.Created.Equal(b.Created) && slices.EqualFunc(a.Rules, b.Rules, sameRule)
}

func sameRule(a, b model.Rule) bool {
	return a.Tag == b.Tag && a.Timeout == b.Timeout && slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.LocalHosts, b.LocalHosts) &&
		slices.Equal(a.Shares, b.Shares) && slices.Equal(a.TagHeader, b.TagHeader)
}
