package xds

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"
)

const (
	maxNackText  = 4 << 10 // bytes of a refusal's text that are passed on
	maxNackNames = 100     // resources that a refusal is said to mean where its text mentions none
)

// answered takes a request's nonce as the acknowledgement, or with an error as the refusal, of the response that has it, and
// of those before it as acknowledged: a client answers in order. It never makes anything due: a refusal is answered when the
// content changes.
func (st *stream) answered(w *watch, r *request) {
	if r.nonce == "" {
		return
	}
	st.silent = false
	last := -1
	for i := range w.inflight {
		if w.inflight[i].nonce == r.nonce {
			last = i
		}
	}
	if last < 0 {
		if r.refusal != nil {
			st.refuse(w, nil, r.refusal)
		}
		return
	}
	for i := range last + 1 {
		if i == last && r.refusal != nil {
			st.refuse(w, w.inflight[i].entries, r.refusal)
			continue
		}
		st.server.counters.acks.Add(1)
		for _, e := range w.inflight[i].entries {
			delete(w.refused, e.Name)
		}
	}
	if len(w.refused) == 0 {
		w.refused = map[string]struct{}{}
	}
	clear(w.inflight[:last+1]) // lets go of the bytes
	w.inflight = w.inflight[last+1:]
}

// refuse records and reports a refusal of entries.
func (st *stream) refuse(w *watch, entries []*entry, refusal *status.Status) {
	st.server.counters.nacks.Add(1)
	text := refusal.GetMessage()
	if len(text) > maxNackText {
		text = strings.ToValidUTF8(text[:maxNackText], "") + "…"
	}
	meant := mentioned(entries, text)
	if len(meant) == 0 {
		meant = entries
	}
	names := make([]string, 0, min(len(meant), maxNackNames))
	for _, e := range meant {
		if w.items[e.Name].sent == e {
			w.refused[e.Name] = struct{}{}
		}
		for _, need := range e.needs {
			st.met(w.kind.needs, need)
		}
		if len(names) < maxNackNames {
			names = append(names, e.Name)
		}
	}
	st.logger.Warn("client refuses resources", "type", w.url, "names", names, "error", text)
	st.server.options.Nacked(Nack{Role: st.role, Client: st.client, Type: w.url, Names: names, Text: text})
}

// mentioned is the entries whose names stand in the text as words of their own.
func mentioned(entries []*entry, text string) []*entry {
	if len(entries) == 1 {
		return entries
	}
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
