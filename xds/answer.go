package xds

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/genproto/googleapis/rpc/status"
)

const (
	maxNackText  = 4 << 10  // bytes of a refusal's text that are passed on
	maxLogText   = 500      // bytes of it that are logged
	maxNackRead  = 64 << 10 // and that are looked through for whom it blames
	maxNackNames = 100      // resources that are said to be blamed
)

// answered takes a request's nonce as the acknowledgement, or with an error as the refusal, of the response that has it, and
// of those before it as acknowledged: a client answers in order. A refusal makes nothing due that the client would refuse
// again: see withhold.
func (st *stream) answered(w *watch, r *request) {
	if r.nonce == "" {
		return
	}
	st.silent = false
	w.answeredLate(r)
	last := -1
	for i := range w.inflight {
		if w.inflight[i].nonce == r.nonce {
			last = i
		}
	}
	if last < 0 {
		if r.refusal != nil {
			st.refuse(w, &response{}, r.refusal)
		}
		return
	}
	for i := range last + 1 {
		if i == last && r.refusal != nil {
			st.refuse(w, &w.inflight[i], r.refusal)
			continue
		}
		st.accept(w, &w.inflight[i])
	}
	clear(w.inflight[:last+1]) // lets go of the bytes
	w.inflight = w.inflight[last+1:]
}

// accept records that a client accepts a response.
func (st *stream) accept(w *watch, r *response) {
	st.acked(w)
	news := r.news
	if w.unsure {
		news = r.entries
	}
	w.sum, w.unsure = r.sum, false
	st.acceptAll(w, news)
}

func (st *stream) acceptAll(w *watch, entries []*entry) {
	if len(entries) > 0 {
		st.listens()
	}
	for _, e := range entries {
		st.vouch(w, e)
		if _, ok := w.refused[e.Name]; ok {
			st.mend(w, e, same(w.accepted(e.Name), e))
		}
		if sent := w.items[e.Name].sent; same(sent, e) {
			w.take(e.Name)
		} else if sent != nil {
			w.kept[e.Name] = e
		}
	}
	if len(w.kept) == 0 && len(entries) > smallMap {
		w.kept = map[string]*entry{}
	}
}

// vouch notes that the client takes the content.
func (st *stream) vouch(w *watch, e *entry) {
	if e.ackedBy(st.role) {
		return
	}
	st.server.store.mu.Lock()
	defer st.server.store.mu.Unlock()
	st.server.store.acknowledge(tableKey{st.role, w.url}, e)
}

// refuse records and reports a refusal of a response.
func (st *stream) refuse(w *watch, r *response, refusal *status.Status) {
	st.nacked(w)
	w.unsure = true
	text := refusal.GetMessage()
	blamed, sure := blame(w, r, text[:min(len(text), maxNackRead)])
	if len(text) > maxNackText {
		text = strings.ToValidUTF8(text[:maxNackText], "") + "…"
	}
	level := hclog.Warn
	if st.triedAgain(w, blamed, text) {
		level = hclog.Debug // nothing has changed
	}
	if sure && allUnbound(w, blamed, text) {
		st.acceptAll(w, slices.DeleteFunc(slices.Clone(r.entries), func(e *entry) bool { return slices.Contains(blamed, e) }))
	}
	st.withhold(w, blamed, sure, text)
	names := make([]string, 0, min(len(blamed), maxNackNames))
	for _, e := range blamed {
		for _, need := range e.needs {
			st.met(need.url, need.name)
		}
		if len(names) < maxNackNames {
			names = append(names, e.Name)
		}
	}
	st.logger.Log(level, "client refuses resources", "type", w.url, "names", names, "error", brief(text))
	st.server.options.Nacked(Nack{Role: st.role, Client: st.client, Type: w.url, Names: names, Text: text})
}

// brief is the beginning of a client's words, in one line: the log is not theirs to fill.
func brief(text string) string {
	text = strings.Join(strings.Fields(text[:min(len(text), 2*maxLogText)]), " ")
	if len(text) > maxLogText {
		text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
	}
	return text
}

// withhold has refused content sent to this client no more. Where a response holds everything, it is sent again without, with
// what the client accepted of the same names before, so that one bad resource does not hold up the others. That ends: each
// time there is less that the client has not accepted yet, and when there is nothing, nothing is sent. Where nothing says for sure
// which of several are meant, all of them are sent again when content changes, as they were.
func (st *stream) withhold(w *watch, blamed []*entry, sure bool, text string) {
	if len(blamed) == 0 {
		return
	}
	store := st.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	t := store.table(st.role, w.url)
	defer store.drop(st.role, w.url)
	fellBack := false
	for _, e := range blamed {
		switch {
		case !same(w.items[e.Name].sent, e): // it was sent newer content since, which it will answer for
		case isUnbound(w, e, text):
			st.bindLater(w, t, e, text)
		default:
			fellBack = st.withholdOne(w, t, e, sure, text) || fellBack
		}
	}
	if !fellBack || w.version == w.sum {
		return
	}
	w.owed, w.urgent = true, true
	if w.kind.stage == stageRoute {
		st.wave = nil
	}
}

// withholdOne reports whether the client's next response is to hold something else in its place, or nothing. The store is held.
func (st *stream) withholdOne(w *watch, t *table, e *entry, sure bool, text string) (fellBack bool) {
	had, store := w.accepted(e.Name), st.server.store
	store.refuse(t, w, e, text)
	if next := w.pending.set[e.Name]; next != nil && (same(next, had) || same(next, e)) {
		delete(w.pending.set, e.Name)
	}
	if same(had, e) {
		return false // it has it in use
	}
	store.accuse(t, e, had != nil, time.Now())
	if !sure || !w.kind.full || !st.wire.whole() {
		return false
	}
	if w.sent(e.Name, had); had != nil {
		w.take(e.Name)
	}
	return true
}

// blame is the entries of a response that a refusal's text means: those whose place in it or name the text gives. Else it may
// be any that the client has not accepted before, and else any; of several it is then not sure which.
func blame(w *watch, r *response, text string) (found []*entry, sure bool) {
	if len(r.entries) <= 1 {
		return r.entries, true
	}
	if found := indexed(r.entries, text); len(found) > 0 {
		return found, true
	}
	fresh := make([]*entry, 0, len(r.news))
	for _, e := range r.entries {
		if !same(w.accepted(e.Name), e) {
			fresh = append(fresh, e)
		}
	}
	if found := mentioned(fresh, text); len(found) > 0 {
		return found, true
	}
	if found := mentioned(r.entries, text); len(found) > 0 {
		return found, true
	}
	if len(fresh) > 0 {
		return fresh, len(fresh) == 1
	}
	return r.entries, false
}

// indexed is the entries whose places in the response the text gives, as gRPC clients do: some give nothing else.
func indexed(entries []*entry, text string) []*entry {
	const mark = "resource index "
	var found []*entry
	seen := map[int]bool{}
	for {
		_, rest, ok := strings.Cut(text, mark)
		if !ok {
			return found
		}
		text = rest
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		if i, err := strconv.Atoi(rest[:digits]); err == nil && i < len(entries) && !seen[i] {
			seen[i] = true
			found = append(found, entries[i])
		}
	}
}

// mentioned is the entries whose names stand in the text as words of their own.
func mentioned(entries []*entry, text string) []*entry {
	var found []*entry
	for _, e := range entries {
		if mentions(text, e.Name) {
			found = append(found, e)
		}
	}
	return found
}

func mentions(text, name string) bool {
	for rest := text; name != ""; {
		before, after, ok := strings.Cut(rest, name)
		if !ok {
			return false
		}
		if !endsInName(before) && !beginsInName(after) {
			return true
		}
		rest = after
	}
	return false
}

func endsInName(s string) bool { return s != "" && inName(s[len(s)-1]) }

// beginsInName is whether a name goes on; a full stop or colon that ends a clause does not.
func beginsInName(s string) bool {
	if s != "" && (s[0] == '.' || s[0] == ':') {
		return len(s) > 1 && inName(s[1])
	}
	return s != "" && inName(s[0])
}

// inName is whether a byte is part of resource names.
func inName(b byte) bool {
	return b == '-' || b == '_' || b == '/' || b == '.' ||
		'0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
