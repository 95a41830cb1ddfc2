package xds

import (
	"strings"
	"time"
)

// A listener whose address somebody else has is refused, and the refusal is no matter of its content: what is refused now may be
// taken in a moment, and other clients on other machines take it. Envoy never tries such a listener again by itself. So it is
// sent again to the client that refused it, with back-off, until that takes it; nobody else's content goes back because of it.

// Back-off between two attempts of a client to bind a listener: it doubles from the first to the longest.
const (
	firstRebind   = 500 * time.Millisecond
	longestRebind = 30 * time.Second
)

// rebind is the next attempt of a client to bind a listener.
type rebind struct {
	unbound bool // it is refused because it cannot be bound
	tries   int  // how often the same content was sent again
	due     time.Time
}

func rebindPause(tries int) time.Duration {
	return min(firstRebind<<min(tries, 10), longestRebind)
}

// isUnbound is whether a client's words say of a listener that its address cannot be bound. Envoy has a line for each listener
// ("… http: cannot bind '127.0.0.1:8080': Address already in use"), Go says "listen tcp 127.0.0.1:8080: bind: address already in use".
func isUnbound(w *watch, e *entry, text string) bool {
	if w.url != ListenerType {
		return false
	}
	for line := range strings.Lines(text) {
		if mentions(line, e.Name) {
			return SaysUnbound(line)
		}
	}
	return SaysUnbound(text)
}

// SaysUnbound is whether a refusal of a listener says that its address cannot be bound. Such a listener is sent again every
// half minute or sooner.
func SaysUnbound(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "cannot bind") || strings.Contains(text, ": bind: ")
}

// allUnbound is whether a response was refused for nothing but addresses: whatever else is in it, the client has then.
func allUnbound(w *watch, blamed []*entry, text string) bool {
	for _, e := range blamed {
		if !isUnbound(w, e, text) {
			return false
		}
	}
	return len(blamed) > 0
}

// triedAgain is whether a refusal says what the client said of the same listeners before.
func (st *stream) triedAgain(w *watch, blamed []*entry, text string) bool {
	for _, e := range blamed {
		if was := w.refused[e.Name]; !was.bind.unbound || !same(was.content, e) {
			return false
		}
	}
	return allUnbound(w, blamed, text)
}

// bindLater records the refusal of a listener that cannot be bound, and has it sent again. The store is held.
func (st *stream) bindLater(w *watch, t *table, e *entry, text string) {
	was := w.refused[e.Name]
	st.server.store.refuse(t, w, e, text)
	r := w.refused[e.Name]
	r.bind = rebind{unbound: true}
	if was.bind.unbound && same(was.content, e) {
		r.bind.tries = was.bind.tries + 1
	}
	r.bind.due = time.Now().Add(rebindPause(r.bind.tries))
	w.refused[e.Name] = r
}

// eachUnbound calls do for every listener that the client is to be sent again.
func (st *stream) eachUnbound(do func(w *watch, name string, r refused)) {
	w := st.watch(ListenerType)
	if w == nil {
		return
	}
	for name, r := range w.refused {
		if r.bind.unbound && !r.bind.due.IsZero() {
			do(w, name, r)
		}
	}
}

// bindAgain makes listeners due whose time has come to be sent again.
func (st *stream) bindAgain(now time.Time) {
	st.eachUnbound(func(w *watch, name string, r refused) {
		if now.Before(r.bind.due) {
			return
		}
		r.bind.due = time.Time{} // until it is answered
		st.server.store.mu.Lock()
		w.refused[name] = r
		st.server.store.mu.Unlock()
		if _, waits := w.pending.set[name]; !waits && same(w.items[name].sent, r.content) {
			w.pending.put(name, w.items[name].sent, st.seq)
			st.wave = nil // which would wait for it, and it for the wave
		}
	})
}
