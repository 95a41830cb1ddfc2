package xds

import (
	"cmp"
	"slices"
	"time"
)

// wave carries the client from what it has to one state, in steps. It holds nothing that could not be found again from the
// watches, so it may be dropped and begun anew at any time.
type wave struct {
	seq  uint64
	step int
}

// retake begins the wave anew with the newest state, unless its routes are on their way already.
func (st *stream) retake() {
	if st.wave != nil && st.wave.step == 0 {
		st.wave = nil
	}
}

// advance sends all that may be sent now.
func (st *stream) advance(now time.Time) error {
	st.expire(now)
	st.bindAgain(now)
	if err := st.sendMake(); err != nil {
		return err
	}
	for {
		if st.wave == nil && !st.begin(now) {
			return nil
		}
		if done, err := st.carryOn(now); !done || err != nil {
			return err
		}
	}
}

// sendMake sends what is new or changed in the make stage: at once where the client asked, else one response of a type at a
// time, in which the newest wins.
func (st *stream) sendMake() error {
	for _, w := range st.watches {
		if w.kind.stage != stageMake || len(w.inflight) > 0 && !w.urgent {
			continue
		}
		if err := st.sendChanges(w, &w.pending); err != nil {
			return err
		}
	}
	return nil
}

// sendChanges sends and empties a watch's changes, and whatever answer is owed.
func (st *stream) sendChanges(w *watch, c *changes) error {
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
			p.gone = append(p.gone, name)
		}
	}
	slices.SortFunc(p.set, func(a, b *entry) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(p.gone)
	c.set = emptied(c.set)
	err := st.send(w, p)
	w.urgent, w.owed = false, false
	return err
}

// begin takes up a wave if there is something for it to do.
func (st *stream) begin(now time.Time) bool {
	if st.opening(now) || !st.needed(now) {
		return false
	}
	st.wave = &wave{seq: st.seq}
	for _, w := range st.watches {
		if w.kind.stage == stageRoute {
			w.batch.absorb(&w.pending)
		}
	}
	return true
}

func (st *stream) needed(now time.Time) bool {
	for _, w := range st.watches {
		if w.kind.stage == stageRoute && (w.owed || !w.pending.empty() || !w.batch.empty()) {
			return true
		}
		if len(w.doomed) == 0 || st.leavesScopes(w) {
			continue
		}
		for name := range w.doomed {
			if st.due(w, name, now) {
				return true
			}
		}
	}
	return false
}

// carryOn does the steps of the wave that need wait for nothing more.
func (st *stream) carryOn(now time.Time) (done bool, err error) {
	for ; st.wave.step < len(steps); st.wave.step++ {
		s := steps[st.wave.step]
		if !st.settled(s.after, st.wave.seq) {
			return false, nil
		}
		if s.remove {
			err = st.sendRemovals(s.stage, now)
		} else {
			err = st.sendBatches(s.stage, now)
		}
		if err != nil {
			return false, err
		}
	}
	st.wave = nil
	return true, nil
}

func (st *stream) sendBatches(s stage, now time.Time) error {
	for _, w := range st.watches {
		if w.kind.stage != s {
			continue
		}
		if w.kind.whole && !w.batch.empty() {
			st.batchRemovals(w, now)
		}
		if err := st.sendChanges(w, &w.batch); err != nil {
			return err
		}
	}
	return nil
}

// batchRemovals has what is to be taken away go with what is new or changed.
func (st *stream) batchRemovals(w *watch, now time.Time) {
	if st.leavesScopes(w) {
		return
	}
	for name, since := range w.doomed {
		if since <= st.wave.seq && st.due(w, name, now) {
			w.batch.put(name, nil, since)
			delete(w.doomed, name)
		}
	}
}

// sendRemovals takes away what the wave's state no longer has, in reverse order. What was set again meanwhile is not doomed
// any more, and what was doomed later belongs to a later wave.
func (st *stream) sendRemovals(s stage, now time.Time) error {
	for _, w := range slices.Backward(st.watches) {
		if w.kind.stage != s || st.leavesScopes(w) {
			continue
		}
		p := push{since: st.wave.seq}
		for name, since := range w.doomed {
			if since <= st.wave.seq && st.due(w, name, now) {
				p.gone = append(p.gone, name)
			}
		}
		if len(p.gone) == 0 {
			continue
		}
		for _, name := range p.gone {
			p.since = min(p.since, w.doomed[name])
		}
		for _, name := range p.gone {
			delete(w.doomed, name)
		}
		if len(w.doomed) == 0 {
			w.doomed = map[string]uint64{}
		}
		slices.Sort(p.gone)
		if err := st.send(w, p); err != nil {
			return err
		}
	}
	return nil
}

// leavesScopes is whether a client may keep the scopes that are gone, because none of its listeners finds routes by scope any more.
// Its connections from the time when one did still do so until they have drained, and would be answered 404 without; the client
// lets go of all scopes when the last of them has ended.
func (st *stream) leavesScopes(w *watch) bool {
	listeners := st.watch(ListenerType)
	if w.url != ScopedRouteType || listeners == nil {
		return false
	}
	for _, it := range listeners.items {
		if it.sent != nil && slices.Contains(it.sent.needs, need{ScopedRouteType, everything}) {
			return false
		}
	}
	return true
}

// due is whether a doomed resource may be taken away as soon as the routes that left it are acknowledged.
//
// It may not while the client refuses listeners or routes: those that stay in force may need it. A client that asks for
// clusters by name, like gRPC, sees a route's new clusters only after the route and keeps the old ones in use until it has
// the new ones; it lets go of them by itself, so for a bounded time after the last route they are left to it.
func (st *stream) due(w *watch, name string, now time.Time) bool {
	for _, other := range st.watches {
		if other.kind.stage != stageRoute || other == w && w.kind.whole {
			continue // scopes need none of their kind
		}
		if other.keepsOlder() {
			return false
		}
	}
	if w.kind.stage != stageMake {
		return true
	}
	if st.young(now) {
		return false // routes that must change first may not have been asked for yet
	}
	if !st.routed() || !w.items[name].named || st.all(ClusterType) {
		return true
	}
	return now.Sub(st.lastRoute) >= st.server.options.Wait
}

// keepsOlder is whether the client refuses something and may have older content of it in force.
func (w *watch) keepsOlder() bool {
	for name, r := range w.refused {
		if r.bind.unbound && w.accepted(name) == nil {
			continue // it has none
		}
		if _, leaving := w.doomed[name]; !leaving {
			return true
		}
	}
	return false
}

// all is whether the client wants everything of a type.
func (st *stream) all(url string) bool {
	w := st.watch(url)
	return w != nil && w.wildcard
}

// young is whether a client that just connected may still have types to ask for.
func (st *stream) young(now time.Time) bool {
	return !st.alone && now.Sub(st.born) < st.server.options.Settle
}

// opening is whether listeners and routes wait for a new stream to ask for clusters. A client that asks for a listener by
// name is like gRPC: it asks for clusters when it has the routes.
func (st *stream) opening(now time.Time) bool {
	if st.watch(ClusterType) != nil || !st.young(now) {
		return false
	}
	listeners := st.watch(ListenerType)
	return st.watch(RouteType) != nil && listeners == nil || listeners != nil && listeners.wildcard
}

// settled is whether the client has everything of a stage up to a state, has answered for it, and has asked for what it will.
func (st *stream) settled(s stage, seq uint64) bool {
	for _, w := range st.watches {
		if w.kind.stage == s && !w.settled(seq) {
			return false
		}
	}
	if !st.routed() {
		return true // no route will name what the client does not ask for
	}
	for _, names := range st.expects {
		for _, x := range names {
			if x.stage == s && x.since <= seq {
				return false
			}
		}
	}
	return true
}

// routed is whether the client takes listeners or routes.
func (st *stream) routed() bool {
	return slices.ContainsFunc(st.watches, func(w *watch) bool { return w.kind.stage == stageRoute })
}

// expire gives up on what was not answered or asked for in time.
func (st *stream) expire(now time.Time) {
	for _, w := range st.watches {
		late := 0
		for late < len(w.inflight) && !now.Before(w.inflight[late].deadline) {
			late++
		}
		if late == 0 {
			continue
		}
		w.unanswered(w.inflight[:late])
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

// pause is how long until something runs out.
func (st *stream) pause(now time.Time) time.Duration {
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
		if len(w.doomed) > 0 && now.Sub(st.lastRoute) < st.server.options.Wait {
			sooner(st.lastRoute.Add(st.server.options.Wait))
		}
	}
	for _, names := range st.expects {
		for _, x := range names {
			sooner(x.deadline)
		}
	}
	st.eachUnbound(func(_ *watch, _ string, r refused) { sooner(r.bind.due) })
	if st.young(now) {
		sooner(st.born.Add(st.server.options.Settle))
	}
	return max(next.Sub(now), time.Millisecond)
}
