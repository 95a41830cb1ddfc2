package session

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/genproto/googleapis/rpc/status"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

const (
	maxNackText  = 4 << 10  // bytes of an error text that are passed on
	maxNackRead  = 64 << 10 // bytes of it that are searched for the resources that it means
	maxNackNames = 100      // names of NACKed resources that are passed on
	maxTexts     = 1000     // NACKed names of one watch whose error texts are kept
)

// answered takes a request as the answer to the response that has its nonce: a NACK with error_detail, else an ACK. It takes the
// responses before that one as acknowledged, because a client answers in order. A NACK makes nothing pending that the client would
// NACK again: see withhold.
func (st *Stream) answered(w *watch, r *Request, now time.Time) {
	if r.Nonce == "" {
		return
	}
	st.silent = false
	w.answeredLate(r)
	last := -1
	for i := range w.inflight {
		if w.inflight[i].nonce == r.Nonce {
			last = i
		}
	}
	if last < 0 {
		if r.Error != nil {
			st.nack(w, &response{}, r.Error, now)
		}
		return
	}
	for i := range last + 1 {
		if i == last && r.Error != nil {
			st.nack(w, &w.inflight[i], r.Error, now)
			continue
		}
		st.ack(w, &w.inflight[i], now)
	}
	clear(w.inflight[:last+1]) // so that the bytes can be freed
	w.inflight = w.inflight[last+1:]
}

// ack records that the client acknowledges a response.
func (st *Stream) ack(w *watch, r *response, now time.Time) {
	st.count(w, Traffic{Acks: 1})
	entries := r.changed
	if w.unsure {
		entries = r.entries
	}
	w.ackedSum, w.unsure = r.sum, false
	st.ackAll(w, entries, now)
}

func (st *Stream) ackAll(w *watch, entries []*offer.Entry, now time.Time) {
	if len(entries) > 0 {
		st.firstAck(now)
	}
	for _, e := range entries {
		st.acknowledge(w, e, now)
		if _, ok := w.nacked[e.Name]; ok {
			st.resolveNack(w, e, offer.Same(w.lastAcked(e.Name), e), now)
			st.resendWhole(e)
		}
		if sent := w.items[e.Name].sent; offer.Same(sent, e) {
			w.ack(e.Name)
		} else if sent != nil {
			w.fallback[e.Name] = e
		}
	}
	if len(w.fallback) == 0 && len(entries) > smallMap {
		w.fallback = map[string]*offer.Entry{}
	}
}

// resendWhole makes pending again all resources of the types that a resource needs whole: the scopes of a listener. A client that NACKed
// the listener has dropped them, and Envoy requests nothing when it needs them again, since a subscription to everything has no names: it
// would wait for its scopes forever, and not listen.
func (st *Stream) resendWhole(e *offer.Entry) {
	for _, need := range e.Needs {
		next := st.watch(need.URL)
		if next == nil || need.Name != resource.Everything {
			continue
		}
		for name, it := range next.items {
			if it.sent != nil && !it.sent.Claimed() {
				next.pending.put(name, it.sent, st.seq)
			}
		}
		next.owed = next.owed || len(next.items) == 0 && next.pending.empty()
		st.wave = nil // the wave and the scopes would wait for each other
	}
}

// acknowledge tells the hub that a client of this role acknowledges the content.
func (st *Stream) acknowledge(w *watch, e *offer.Entry, now time.Time) {
	if e.AckedBy(st.client.Role) {
		return
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offers.Acknowledge(w.key(), e, now)
	h.deliver(now)
}

// neverAcked is whether the client has acknowledged nothing of what it was sent. It is false for a stream of one type: the
// client has other streams.
func (st *Stream) neverAcked() bool { return !st.hasAcked && !st.client.OneType }

// firstAck records that the client has acknowledged a resource.
func (st *Stream) firstAck(now time.Time) {
	if st.hasAcked {
		return
	}
	had := st.neverAcked()
	st.hasAcked = true
	if !had {
		return
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range st.watches {
		for _, r := range w.nacked {
			h.offers.FirstAck(r.Rejection)
		}
	}
	h.deliver(now)
}

// nack records and reports that the client NACKs a response.
func (st *Stream) nack(w *watch, r *response, detail *status.Status, now time.Time) {
	st.count(w, Traffic{Nacks: 1})
	w.unsure = true
	text := detail.GetMessage()
	blamed, sure := blame(w, r, text[:min(len(text), maxNackRead)])
	if len(text) > maxNackText {
		text = strings.ToValidUTF8(text[:maxNackText], "") + "…"
	}
	level := hclog.Warn
	if st.boundAgain(w, blamed, text) {
		level = hclog.Debug // nothing has changed
	}
	if sure && allUnbound(w, blamed, text) {
		rest := slices.DeleteFunc(slices.Clone(r.entries), func(e *offer.Entry) bool { return slices.Contains(blamed, e) })
		st.ackAll(w, rest, now)
	}
	st.withhold(w, blamed, sure, text, now)
	names := make([]string, 0, min(len(blamed), maxNackNames))
	for _, e := range blamed {
		for _, need := range e.Needs {
			st.met(need.URL, need.Name)
		}
		if len(names) < maxNackNames {
			names = append(names, e.Name)
		}
	}
	st.logger.Log(level, "client NACKs resources", "type", w.url, "names", names, "error", brief(text))
	st.hub.options.Nacked(resource.Nack{Role: st.client.Role, Client: st.client.ID, Type: w.url, Names: names, Text: text})
}

// withhold stops sending NACKed content to this client. Where a response holds everything, the server sends it again with what the
// client acknowledged of the NACKed names before, or without them, so that one bad resource does not hold up the others. That ends:
// each time there is less that the client has not acknowledged yet, and when there is nothing left, nothing is sent. Where the text
// names none of several resources, the server sends all of them again, unchanged, when content changes.
func (st *Stream) withhold(w *watch, blamed []*offer.Entry, sure bool, text string, now time.Time) {
	if len(blamed) == 0 {
		return
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	fellBack := false
	for _, e := range blamed {
		if !offer.Same(w.items[e.Name].sent, e) {
			continue // the client was sent newer content since, for which it will answer
		}
		had := w.lastAcked(e.Name)
		st.reject(w, e, had, text, now)
		inUse := isUnbound(w, e, text) || offer.Same(had, e)
		if sure && !inUse && w.kind.Full && st.client.Protocol.whole() {
			w.fallBack(e.Name, had)
			fellBack = true
		}
	}
	h.deliver(now)
	if !fellBack || w.sum == w.ackedSum {
		return
	}
	w.owed, w.urgent = true, true
	if w.kind.Stage == resource.StageRoute {
		st.wave = nil
	}
}

// fallBack records that the client has what it acknowledged of a name before, and nothing if that is nil.
func (w *watch) fallBack(name string, had *offer.Entry) {
	if w.sent(name, had); had != nil {
		w.ack(name)
	}
}

// reject records that the client NACKs one resource, whose name it acknowledged with the content had before. Hub.mu is held.
func (st *Stream) reject(w *watch, e, had *offer.Entry, text string, now time.Time) {
	before := w.nacked[e.Name]
	r := rejection{}
	unbound := isUnbound(w, e, text)
	if unbound {
		r.bind = before.nextBind(e, now)
	}
	r.Rejection = st.hub.offers.NACK(w.key(), offer.Nack{
		Entry: e, Client: st.client.ID, Text: text, NeverAcked: st.neverAcked(), LocalOnly: unbound,
		HadAcked: had != nil, InUse: offer.Same(had, e),
		Unanimous: func() bool { return st.hub.unanimous(w, e) },
	}, before.Rejection, now)
	if len(w.nacked) >= maxTexts {
		r.DropText()
	}
	w.nacked[e.Name] = r
	if next := w.pending.set[e.Name]; !unbound && next != nil && (offer.Same(next, had) || offer.Same(next, e)) {
		delete(w.pending.set, e.Name)
	}
}

// withdrawNack ends the client's NACK of a name. Hub.mu is held.
func (st *Stream) withdrawNack(w *watch, name string, now time.Time) {
	r, ok := w.nacked[name]
	if !ok {
		return
	}
	if delete(w.nacked, name); len(w.nacked) == 0 {
		w.nacked = map[string]rejection{}
	}
	st.hub.offers.Withdraw(w.key(), name, r.Rejection, st.neverAcked(), now)
	st.hub.deliver(now)
}

// resolveNack ends the client's NACK of a name if the content that it has now is what it should have.
func (st *Stream) resolveNack(w *watch, e *offer.Entry, fellBack bool, now time.Time) {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offers.Resolves(w.key(), e, fellBack) {
		st.withdrawNack(w, e.Name, now)
	}
}

// endNack ends the client's NACK of a name that is removed.
func (st *Stream) endNack(w *watch, name string, now time.Time) {
	if _, ok := w.nacked[name]; !ok {
		return
	}
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.withdrawNack(w, name, now)
}

// giveUp keeps what is in responses that are no longer waited for.
func (w *watch) giveUp(responses []response) {
	if w.late == nil {
		w.late = map[string]unanswered{}
	}
	for i := range responses {
		for _, e := range responses[i].changed {
			if offer.Same(w.items[e.Name].sent, e) { // else the client was sent other content since, or dropped the name
				w.late[e.Name] = unanswered{e, nonceNumber(responses[i].nonce)}
			}
		}
	}
}

// answeredLate records what the client acknowledges by answering a response that is no longer waited for, or, since clients answer
// in order, a later one. What it NACKs that late counts as not acknowledged.
func (w *watch) answeredLate(r *Request) {
	if w.late == nil {
		return
	}
	number := nonceNumber(r.Nonce)
	for name, u := range w.late {
		if u.nonce > number {
			continue
		}
		delete(w.late, name)
		if offer.Same(w.items[name].sent, u.entry) && (u.nonce < number || r.Error == nil) {
			w.ack(name)
		}
	}
	if len(w.late) == 0 {
		w.late = nil
	}
}
