package xds

import "time"

// item is a resource as one client has it.
type item struct {
	sent  *entry // what was sent last; nil when the client has nothing, or was told that there is nothing
	named bool   // asked for by name
	taken bool   // the client has accepted what was sent
}

// changes is what waits to be sent: the newest entry by name, nil to say that there is none.
type changes struct {
	set   map[string]*entry
	since uint64 // oldest state that it belongs to
}

func (c *changes) empty() bool { return len(c.set) == 0 }

func (c *changes) put(name string, e *entry, since uint64) {
	if c.set == nil {
		c.set = map[string]*entry{}
	}
	if c.empty() || since < c.since {
		c.since = since
	}
	c.set[name] = e
}

// smallMap is how many entries a map may have had to be used again: going through a map, and clearing it, costs what it once
// held, and a first response holds everything.
const smallMap = 64

// emptied is a map without entries to use in place of one that is done with.
func emptied(m map[string]*entry) map[string]*entry {
	if len(m) > smallMap {
		return map[string]*entry{}
	}
	clear(m)
	return m
}

// absorb adds newer changes, which win, and empties them.
func (c *changes) absorb(newer *changes) {
	if c.empty() {
		*c, *newer = *newer, changes{set: c.set}
		return
	}
	for name, e := range newer.set {
		c.put(name, e, newer.since)
	}
	newer.set = emptied(newer.set)
}

// response is one that the client has not answered.
type response struct {
	nonce    string
	since    uint64 // oldest state that it belongs to
	deadline time.Time
	entries  []*entry
	news     []*entry // of these, what was sent because it was due
	sum      uint64   // of the hashes of what the client has with it
}

// watch is one type on one stream. The stream's writer owns it, but for the part that the store's mutex guards.
type watch struct {
	stream *stream
	url    string
	kind   *kind
	rank   int

	dirty      map[string]*entry // guarded by the store: changed since the writer looked last
	dirtySince uint64            // guarded by the store: oldest state of dirty
	spare      map[string]*entry // takes the place of dirty when the writer looks

	wildcard bool
	items    map[string]item // what is asked for by name, and what was sent
	named    int             // how many are asked for by name
	version  uint64          // sum of the hashes of what the client has
	given    string          // said in place of version, if not empty
	nonce    string          // of the last response

	explicit  bool   // state of the world: a name was asked for, so that an empty list means nothing
	lastNames uint64 // state of the world: hash of the last list of names

	pending  changes
	urgent   bool              // the client asked: do not wait for its acknowledgements
	owed     bool              // an answer is owed even if there is nothing to say
	batch    changes           // of the wave: taken at one moment, not sent yet
	doomed   map[string]uint64 // what the client has and should not, and since which state
	inflight []response        // in the order of sending

	kept    map[string]*entry  // what the client accepted last of a name, where that is not what it was sent last
	refused map[string]refused // names of which it refuses what it was sent last, or would be
	sum     uint64             // of the hashes of what it had with the last response that it accepted
	unsure  bool               // a response went unanswered or was refused: the next that is accepted tells of all in it
	late    map[string]unheard // what was sent in responses that were not answered in time; nil: nothing

	traffic traffic
}

func newWatch(st *stream, url string) *watch {
	k, rank := kindOf(url)
	return &watch{
		stream: st, url: url, kind: k, rank: rank,
		dirty:   map[string]*entry{},
		spare:   map[string]*entry{},
		items:   map[string]item{},
		doomed:  map[string]uint64{},
		kept:    map[string]*entry{},
		refused: map[string]refused{},
	}
}

// asksFor is whether the client has asked for a name, or for everything.
func (w *watch) asksFor(name string) bool {
	return w.wildcard || w.items[name].named
}

// merge takes over what the store found changed. It reports whether something that the client was never sent, but that a
// route of the present wave may name, is gone.
func (w *watch) merge(dirty map[string]*entry, since uint64) (lost bool) {
	for name, e := range dirty {
		if it, ok := w.items[name]; !ok && !w.wildcard {
			continue
		} else if e != nil {
			w.renew(name, it, e, since)
		} else if w.end(name, it, since) {
			lost = true
		}
	}
	return lost
}

// renew makes an entry due, unless it is what the client has.
func (w *watch) renew(name string, it item, e *entry, since uint64) {
	delete(w.doomed, name)
	if w.spurns(name, e) {
		return
	}
	_, waiting := w.pending.set[name]
	if _, ok := w.batch.set[name]; ok {
		waiting = true
	}
	if waiting || it.sent == nil || it.sent.Version != e.Version {
		w.pending.put(name, e, since)
		return
	}
	it.sent = e // lets go of the old bytes
	w.items[name] = it
	if it.taken {
		w.stream.vouch(w, e) // it is not sent again, and so not acknowledged again
	}
}

// end makes a removal due where the client has the resource or is about to, and reports whether it was waiting to be sent.
func (w *watch) end(name string, it item, since uint64) (lost bool) {
	if lost = w.pending.set[name] != nil; lost && it.named {
		w.pending.put(name, nil, since)
	} else if lost { // else it may be due to be told that there is none
		delete(w.pending.set, name)
	}
	switch _, ok := w.doomed[name]; {
	case ok:
	case it.sent != nil || w.batch.set[name] != nil:
		w.doomed[name] = since
	default:
		w.stream.absolve(w, name)
	}
	return lost && it.sent == nil
}

// spurns is whether a client that refuses a name need not be sent an entry of it: it refused just this, or it kept just this.
func (w *watch) spurns(name string, e *entry) bool {
	r, ok := w.refused[name]
	if !ok {
		return false
	}
	had := w.accepted(name)
	if !same(had, e) && !same(r.content, e) {
		return false
	}
	delete(w.pending.set, name)
	delete(w.batch.set, name)
	if same(had, e) {
		w.sent(name, e)
		w.take(name)
		w.stream.mend(w, e, true)
	}
	return true
}

// accepted is the content of a name that the client accepted last; nil if it has none.
func (w *watch) accepted(name string) *entry {
	if it := w.items[name]; it.taken {
		return it.sent
	}
	return w.kept[name]
}

// take notes that the client has accepted what it was sent of a name.
func (w *watch) take(name string) {
	it := w.items[name]
	it.taken = true
	w.items[name] = it
	delete(w.kept, name)
}

// sent records what the client has now.
func (w *watch) sent(name string, e *entry) {
	it := w.items[name]
	if it.sent != nil {
		w.version -= it.sent.hash
	}
	switch {
	case e == nil:
		delete(w.kept, name)
	case it.taken:
		w.kept[name] = it.sent
	}
	delete(w.late, name)
	it.sent, it.taken = e, false
	switch {
	case e != nil:
		w.version += e.hash
		w.items[name] = it
	case it.named:
		w.items[name] = it
	default:
		delete(w.items, name)
	}
}

// versionInfo is how what the client has is called: by content, so that every replica says the same.
func (w *watch) versionInfo() string {
	if w.given != "" {
		return w.given
	}
	return versionText(w.version)
}

// forget drops all that is known of a name that the client no longer wants. The store is held.
func (w *watch) forget(name string) {
	if it := w.items[name]; it.sent != nil {
		w.version -= it.sent.hash
	}
	delete(w.items, name)
	delete(w.pending.set, name)
	delete(w.batch.set, name)
	delete(w.doomed, name)
	delete(w.kept, name)
	delete(w.late, name)
	w.stream.server.store.pardon(w, name)
}

// settled is whether the client has everything of this type up to a state, and has answered for it.
func (w *watch) settled(seq uint64) bool {
	if !w.pending.empty() && w.pending.since <= seq || !w.batch.empty() {
		return false
	}
	// Responses are in the order of sending, and so of what they belong to, but for answers to what a client asked.
	for i := range w.inflight {
		if w.inflight[i].since <= seq {
			return false
		}
	}
	return true
}

// oldest is the oldest state that the client has not answered for; 0 means none.
func (w *watch) oldest() uint64 {
	oldest := uint64(0)
	consider := func(since uint64) {
		if oldest == 0 || since < oldest {
			oldest = since
		}
	}
	if !w.pending.empty() {
		consider(w.pending.since)
	}
	if !w.batch.empty() {
		consider(w.batch.since)
	}
	for i := range w.inflight {
		consider(w.inflight[i].since)
	}
	return oldest
}
