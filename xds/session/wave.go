package session

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// wave brings the client from what it has to one state, in resource.Steps. It holds nothing that does not follow from the watches,
// so the stream may drop it and begin another at any time.
type wave struct {
	seq  uint64
	step int
}

// restartWave begins the wave again with the newest state, unless it has already sent routes.
func (st *Stream) restartWave() {
	if st.wave != nil && st.wave.step == 0 {
		st.wave = nil
	}
}

// sendAll sends everything that may be sent now.
func (st *Stream) sendAll(now time.Time) error {
	st.expire(now)
	st.bindAgain(now)
	if err := st.sendMake(now); err != nil {
		return err
	}
	for {
		if st.wave == nil && !st.beginWave(now) {
			return nil
		}
		if done, err := st.carryOn(now); !done || err != nil {
			return err
		}
	}
}

// sendMake sends what is new or changed in the make stage: at once where the client has asked for it, else one response of a type
// at a time, of which the newest content wins.
func (st *Stream) sendMake(now time.Time) error {
	for _, w := range st.watches {
		if w.kind.Stage != resource.StageMake || len(w.inflight) > 0 && !w.urgent {
			continue
		}
		if err := st.sendChanges(w, &w.pending, now); err != nil {
			return err
		}
	}
	return nil
}

// sendChanges sends and empties some of a watch's changes. If the client is owed a response, it sends one even without changes.
func (st *Stream) sendChanges(w *watch, c *changes, now time.Time) error {
	if c.empty() && !w.owed {
		w.urgent = false
		return nil
	}
	p := push{since: c.since}
	if c.empty() {
		p.since = st.seq
	}
	for name, e := range c.set {
		if e != nil {
			p.set = append(p.set, e)
		} else {
			p.removed = append(p.removed, name)
		}
	}
	slices.SortFunc(p.set, func(a, b *offer.Entry) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(p.removed)
	c.set = emptied(c.set)
	err := st.send(w, p, now)
	w.urgent, w.owed = false, false
	return err
}

// beginWave begins a wave if there is something for it to do.
func (st *Stream) beginWave(now time.Time) bool {
	if st.opening(now) || !st.waveNeeded(now) {
		return false
	}
	st.wave = &wave{seq: st.seq}
	for _, w := range st.watches {
		if w.kind.Stage == resource.StageRoute {
			w.batch.absorb(&w.pending)
		}
	}
	return true
}

func (st *Stream) waveNeeded(now time.Time) bool {
	for _, w := range st.watches {
		if w.kind.Stage == resource.StageRoute && (w.owed || !w.pending.empty() || !w.batch.empty()) {
			return true
		}
		if len(w.pendingRemoval) == 0 || st.keepsScopes(w) {
			continue
		}
		for name := range w.pendingRemoval {
			if st.mayRemove(w, name, now) {
				return true
			}
		}
	}
	return false
}

// carryOn does the steps of the wave that need not wait any more.
func (st *Stream) carryOn(now time.Time) (done bool, err error) {
	for ; st.wave.step < len(resource.Steps); st.wave.step++ {
		s := resource.Steps[st.wave.step]
		if !st.settled(s.After, st.wave.seq) {
			return false, nil
		}
		if s.Remove {
			err = st.sendRemovals(s.Stage, now)
		} else {
			err = st.sendBatches(s.Stage, now)
		}
		if err != nil {
			return false, err
		}
	}
	st.wave = nil
	return true, nil
}

func (st *Stream) sendBatches(s resource.Stage, now time.Time) error {
	for _, w := range st.watches {
		if w.kind.Stage != s {
			continue
		}
		if w.kind.Whole && !w.batch.empty() {
			st.batchRemovals(w, now)
		}
		if err := st.sendChanges(w, &w.batch, now); err != nil {
			return err
		}
	}
	return nil
}

// batchRemovals puts pending removals into the batch, with what is new or changed.
func (st *Stream) batchRemovals(w *watch, now time.Time) {
	if st.keepsScopes(w) {
		return
	}
	for name, since := range w.pendingRemoval {
		if since <= st.wave.seq && st.mayRemove(w, name, now) {
			w.batch.put(name, nil, since)
			delete(w.pendingRemoval, name)
		}
	}
}

// sendRemovals removes what the wave's state no longer has, in reverse order of types. What was set again meanwhile is no longer
// pending removal, and what was removed later belongs to a later wave.
func (st *Stream) sendRemovals(s resource.Stage, now time.Time) error {
	for _, w := range slices.Backward(st.watches) {
		if w.kind.Stage != s || st.keepsScopes(w) {
			continue
		}
		p := st.takeRemovals(w, now)
		if len(p.removed) == 0 {
			continue
		}
		if err := st.send(w, p, now); err != nil {
			return err
		}
	}
	return nil
}

// takeRemovals takes the pending removals of the wave that may be sent.
func (st *Stream) takeRemovals(w *watch, now time.Time) push {
	p := push{since: st.wave.seq}
	for name, since := range w.pendingRemoval {
		if since <= st.wave.seq && st.mayRemove(w, name, now) {
			p.removed = append(p.removed, name)
		}
	}
	for _, name := range p.removed {
		p.since = min(p.since, w.pendingRemoval[name])
		delete(w.pendingRemoval, name)
	}
	if len(p.removed) > 0 && len(w.pendingRemoval) == 0 { // a map that was large once costs as much to iterate over
		w.pendingRemoval = map[string]uint64{}
	}
	slices.Sort(p.removed)
	return p
}

// keepsScopes is whether the client may keep removed scopes because none of its listeners finds routes by scope any more. Its
// connections from the time when one did still use the scopes until they have drained, and would be answered 404 without. The client
// drops all scopes when the last of these connections has ended.
func (st *Stream) keepsScopes(w *watch) bool {
	listeners := st.watch(resource.ListenerType)
	if w.url != resource.ScopedRouteType || listeners == nil {
		return false
	}
	scopes := resource.Need{URL: resource.ScopedRouteType, Name: resource.Everything}
	for _, it := range listeners.items {
		if it.sent != nil && slices.Contains(it.sent.Needs, scopes) {
			return false
		}
	}
	return true
}

// mayRemove is whether a pending removal may be sent as soon as the routes without the resource are acknowledged.
//
// It may not while the client NACKs listeners or routes: the older ones that it keeps may need the resource. A client that asks for
// clusters by name, like gRPC, sees a route's new clusters only after the route, and uses the old ones until it has the new ones. It
// unsubscribes from the old ones by itself, so the server leaves these to it for a bounded time after the last route.
func (st *Stream) mayRemove(w *watch, name string, now time.Time) bool {
	for _, other := range st.watches {
		if other.kind.Stage != resource.StageRoute || other == w && w.kind.Whole {
			continue // scopes do not need each other
		}
		if other.keepsOlder() {
			return false
		}
	}
	if w.kind.Stage != resource.StageMake {
		return true
	}
	if st.settling(now) {
		return false // the client may not have subscribed yet to routes that must change first
	}
	if !st.takesRoutes() || !w.items[name].named || st.wildcard(resource.ClusterType) {
		return true
	}
	return now.Sub(st.lastRoute) >= st.hub.options.Wait
}

// keepsOlder is whether the client NACKs a resource and may use older content of it.
func (w *watch) keepsOlder() bool {
	for name, r := range w.nacked {
		if r.bind.unbound && w.lastAcked(name) == nil {
			continue // it has none
		}
		if _, leaving := w.pendingRemoval[name]; !leaving {
			return true
		}
	}
	return false
}

// wildcard is whether the client is subscribed to everything of a type.
func (st *Stream) wildcard(url string) bool {
	w := st.watch(url)
	return w != nil && w.wildcard
}

// settling is whether a client that just connected may still have types to subscribe to.
func (st *Stream) settling(now time.Time) bool {
	return !st.client.OneType && now.Sub(st.born) < st.hub.options.Settle
}

// awaitsListeners is whether a client that has returned has yet to subscribe to listeners. It serves by those that it has, so it has
// answered for nothing until it has their routes. A client under load subscribes to its types with more time between them than Settle.
func (st *Stream) awaitsListeners(now time.Time) bool {
	return st.returned && now.Sub(st.born) < st.hub.options.Wait &&
		st.wildcard(resource.ClusterType) && st.watch(resource.ListenerType) == nil
}

// opening is whether listeners and routes wait until a new stream subscribes to clusters. A client that asks for a listener by name
// is like gRPC: it subscribes to clusters when it has the routes.
func (st *Stream) opening(now time.Time) bool {
	if st.watch(resource.ClusterType) != nil || !st.settling(now) {
		return false
	}
	listeners := st.watch(resource.ListenerType)
	return st.watch(resource.RouteType) != nil && listeners == nil || listeners != nil && listeners.wildcard
}

// settled is whether the client has everything of a stage up to a state, has answered for it, and has subscribed to what it needs.
func (st *Stream) settled(s resource.Stage, seq uint64) bool {
	for _, w := range st.watches {
		if w.kind.Stage == s && !w.settled(seq) {
			return false
		}
	}
	settled := true
	st.eachExpected(func(x expectation) { settled = settled && (x.stage != s || x.since > seq) })
	return settled
}

// takesRoutes is whether the client is subscribed to listeners or routes.
func (st *Stream) takesRoutes() bool {
	return slices.ContainsFunc(st.watches, func(w *watch) bool { return w.kind.Stage == resource.StageRoute })
}

// expire stops waiting for answers and subscriptions that did not come in time.
func (st *Stream) expire(now time.Time) {
	for _, w := range st.watches {
		late := 0
		for late < len(w.inflight) && !now.Before(w.inflight[late].deadline) {
			late++
		}
		if late == 0 {
			continue
		}
		w.giveUp(w.inflight[:late])
		w.inflight, w.unsure = slices.Delete(w.inflight, 0, late), true
		if !st.silent {
			st.silent = true
			st.logger.Warn("client does not answer, going ahead without it", "type", w.url)
		}
	}
	for url, names := range st.expects {
		for name, x := range names {
			if now.Before(x.deadline) {
				continue
			}
			st.met(url, name)
			st.never[url] = st.watch(url) == nil
		}
	}
}

// Delay is how long until Advance has something to do because time has passed; at most an hour.
func (st *Stream) Delay(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, w := range st.watches {
		if len(w.inflight) > 0 {
			sooner(w.inflight[0].deadline)
		}
		if len(w.pendingRemoval) > 0 && now.Sub(st.lastRoute) < st.hub.options.Wait {
			sooner(st.lastRoute.Add(st.hub.options.Wait))
		}
	}
	for _, names := range st.expects {
		for _, x := range names {
			sooner(x.deadline)
		}
	}
	st.eachUnbound(func(_ *watch, _ string, r rejection) { sooner(r.bind.due) })
	if st.settling(now) {
		sooner(st.born.Add(st.hub.options.Settle))
	}
	if st.awaitsListeners(now) {
		sooner(st.born.Add(st.hub.options.Wait))
	}
	return max(next.Sub(now), time.Millisecond)
}
