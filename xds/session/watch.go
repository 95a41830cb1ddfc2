package session

import (
	"fmt"
	"time"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// item is one resource at one client.
type item struct {
	sent  *offer.Entry // what was sent last; nil when nothing was, or that there is nothing
	named bool         // the client is subscribed to the name
	acked bool         // the client has acknowledged what was sent last
}

// changes is what has to be sent: the newest entry by name, nil to say that there is none.
type changes struct {
	set   map[string]*offer.Entry
	since uint64 // the oldest state that it belongs to
}

func (c *changes) empty() bool { return len(c.set) == 0 }

func (c *changes) put(name string, e *offer.Entry, since uint64) {
	if c.set == nil {
		c.set = map[string]*offer.Entry{}
	}
	if c.empty() || since < c.since {
		c.since = since
	}
	c.set[name] = e
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

// smallMap is how many entries a map may have had to be used again: to iterate over a map, or to clear it, costs what the map once
// held, and the first response holds everything.
const smallMap = 64

// emptied is a map without entries, to use in place of one whose entries are no longer needed.
func emptied(m map[string]*offer.Entry) map[string]*offer.Entry {
	if len(m) > smallMap {
		return map[string]*offer.Entry{}
	}
	clear(m)
	return m
}

// response is one that the client has not answered.
type response struct {
	nonce    string
	since    uint64 // the oldest state that it belongs to
	deadline time.Time
	entries  []*offer.Entry
	changed  []*offer.Entry // those of the entries that were pending; a full response has others too
	sum      uint64         // of the hashes of what the client has with it
}

// unanswered is a resource that the client was sent and did not answer for.
type unanswered struct {
	entry *offer.Entry
	nonce uint64 // number of the last response with it
}

// rejection is the client's NACK of one name.
type rejection struct {
	offer.Rejection
	bind rebind
}

// rebind is the next attempt of a client to bind a listener.
type rebind struct {
	unbound bool      // the client NACKs the listener because it cannot bind the address
	tries   int       // how often the same content was sent again
	due     time.Time // zero while the client has yet to answer
}

// watch is one type on one stream.
type watch struct {
	// Set once.
	stream *Stream
	url    string
	kind   *resource.Kind
	rank   int

	// Guarded by Hub.mu.
	incoming      map[string]*offer.Entry // what has changed since the writer collected it last
	incomingSince uint64                  // the oldest state of incoming

	// The writer changes it with Hub.mu held, and so reads it without; others read it with Hub.mu held.
	nacked map[string]rejection // names of which the client NACKs what it was sent last, or would be sent

	// Only the writer's, as are all fields of the embedded structs.
	subscription
	outbox
	answers
	traffic Traffic
}

// subscription is what the client wants of the type, and what it has.
type subscription struct {
	wildcard bool            // it wants everything
	items    map[string]item // what it wants by name, and what it was sent
	named    int             // how many names it wants
	sum      uint64          // of the hashes of what it has

	explicit  bool   // state of the world: it has named a resource, so that an empty list means nothing
	lastNames uint64 // state of the world: hash of the last list of names
}

// outbox is what the client has to be sent.
type outbox struct {
	pending        changes
	urgent         bool                    // the client has asked: send without waiting for its answers
	owed           bool                    // the client gets a response even if there is nothing to say
	batch          changes                 // of the wave: what it has taken out of pending and not sent yet
	pendingRemoval map[string]uint64       // what the client has and must no longer have, and since which state
	collected      map[string]*offer.Entry // takes the place of watch.incoming, and the other way round
	fixedVersion   string                  // the version of responses, if not empty; else it follows from the sum
}

// answers is what the client has said of what it was sent.
type answers struct {
	nonce    string                  // of the last response
	inflight []response              // responses that it has not answered, in the order of sending
	ackedSum uint64                  // response.sum of the last response that it acknowledged
	unsure   bool                    // it NACKed or did not answer a response: its next acknowledgement covers all entries of the response
	late     map[string]unanswered   // what was in responses that it did not answer in time; nil: nothing
	fallback map[string]*offer.Entry // the entries that it acknowledged last, where it was sent others since
}

func newWatch(st *Stream, url string) *watch {
	kind, rank := resource.KindOf(url)
	return &watch{
		stream: st, url: url, kind: kind, rank: rank,
		incoming:     map[string]*offer.Entry{},
		nacked:       map[string]rejection{},
		subscription: subscription{items: map[string]item{}},
		outbox:       outbox{pendingRemoval: map[string]uint64{}, collected: map[string]*offer.Entry{}},
		answers:      answers{fallback: map[string]*offer.Entry{}},
	}
}

// key is the type and role in the offers.
func (w *watch) key() offer.Key { return offer.Key{Role: w.stream.client.Role, Type: w.url} }

// subscribed is whether the client is subscribed to a name, or to everything.
func (w *watch) subscribed(name string) bool {
	return w.wildcard || w.items[name].named
}

// merge takes over what has changed. It reports whether something is gone that the client was never sent, but that a route of the
// present wave may name.
func (w *watch) merge(changed map[string]*offer.Entry, since uint64, now time.Time) (lost bool) {
	for name, e := range changed {
		if it, ok := w.items[name]; !ok && !w.wildcard {
			continue
		} else if e != nil {
			w.changed(name, it, e, since, now)
		} else if w.removed(name, it, since, now) {
			lost = true
		}
	}
	return lost
}

// changed makes an entry pending, unless the client has it.
func (w *watch) changed(name string, it item, e *offer.Entry, since uint64, now time.Time) {
	delete(w.pendingRemoval, name)
	if w.skips(name, e, now) {
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
	it.sent = e // so that the old bytes can be freed
	w.items[name] = it
	if it.acked {
		w.stream.acknowledge(w, e, now) // it is not sent again, and so not acknowledged again
	}
}

// removed makes a removal pending where the client has the resource or is about to get it. It reports whether the resource was
// pending and the client never had it.
func (w *watch) removed(name string, it item, since uint64, now time.Time) (lost bool) {
	if lost = w.pending.set[name] != nil; lost && it.named {
		w.pending.put(name, nil, since)
	} else if lost { // else the client may be owed the answer that there is none
		delete(w.pending.set, name)
	}
	switch _, ok := w.pendingRemoval[name]; {
	case ok:
	case it.sent != nil || w.batch.set[name] != nil:
		w.pendingRemoval[name] = since
	default:
		w.stream.endNack(w, name, now)
	}
	return lost && it.sent == nil
}

// skips is whether a client that NACKs a name need not be sent an entry of it, because it NACKed just this entry, or fell back to it.
func (w *watch) skips(name string, e *offer.Entry, now time.Time) bool {
	r, ok := w.nacked[name]
	if !ok {
		return false
	}
	had := w.lastAcked(name)
	if !offer.Same(had, e) && !offer.Same(r.Content, e) {
		return false
	}
	delete(w.pending.set, name)
	delete(w.batch.set, name)
	if offer.Same(had, e) {
		w.sent(name, e)
		w.ack(name)
		w.stream.resolveNack(w, e, true, now)
	}
	return true
}

// lastAcked is the content of a name that the client acknowledged last; nil if it has none.
func (w *watch) lastAcked(name string) *offer.Entry {
	if it := w.items[name]; it.acked {
		return it.sent
	}
	return w.fallback[name]
}

// ack records that the client has acknowledged what it was sent last of a name.
func (w *watch) ack(name string) {
	it := w.items[name]
	it.acked = true
	w.items[name] = it
	delete(w.fallback, name)
}

// sent records what the client was sent of a name; nil for the answer that there is none.
func (w *watch) sent(name string, e *offer.Entry) {
	it := w.items[name]
	if it.sent != nil {
		w.sum -= it.sent.Hash
	}
	switch {
	case e == nil:
		delete(w.fallback, name)
	case it.acked:
		w.fallback[name] = it.sent
	}
	delete(w.late, name)
	it.sent, it.acked = e, false
	switch {
	case e != nil:
		w.sum += e.Hash
		w.items[name] = it
	case it.named:
		w.items[name] = it
	default:
		delete(w.items, name)
	}
}

// versionInfo is the version of everything that the client has. It follows from the content, so that every replica computes the
// same.
func (w *watch) versionInfo() string {
	if w.fixedVersion != "" {
		return w.fixedVersion
	}
	return versionOf(w.sum)
}

// versionOf is the version of a set of resources, by the sum of their hashes.
func versionOf(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// forget drops everything that is known of a name that the client no longer wants. Hub.mu is held.
func (w *watch) forget(name string, now time.Time) {
	if it := w.items[name]; it.sent != nil {
		w.sum -= it.sent.Hash
	}
	delete(w.items, name)
	delete(w.pending.set, name)
	delete(w.batch.set, name)
	delete(w.pendingRemoval, name)
	delete(w.fallback, name)
	delete(w.late, name)
	w.stream.withdrawNack(w, name, now)
}

// settled is whether the client has everything of this type up to a state, and has answered for it.
func (w *watch) settled(seq uint64) bool {
	if !w.pending.empty() && w.pending.since <= seq || !w.batch.empty() {
		return false
	}
	// Responses are in the order of sending, and so of their states, but for answers to subscriptions.
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
