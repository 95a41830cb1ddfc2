package session

import (
	"strings"
	"time"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// A client NACKs a listener whose address another process has. That is not a matter of the content: the client may be able to bind
// the address a moment later, and clients on other machines take the listener. Envoy never tries such a listener again by itself.
// So the server sends it again to the client that NACKed it, with back-off, until the client takes it. It rolls nothing back.

// Back-off between two attempts of a client to bind a listener: it doubles from the first to the longest.
const (
	firstRebind   = 500 * time.Millisecond
	longestRebind = 30 * time.Second
)

func rebindPause(tries int) time.Duration {
	return min(firstRebind<<min(tries, 10), longestRebind)
}

// nextBind is the attempt after a client could not bind a listener.
func (r rejection) nextBind(e *offer.Entry, now time.Time) rebind {
	next := rebind{unbound: true}
	if r.bind.unbound && offer.Same(r.Content, e) {
		next.tries = r.bind.tries + 1
	}
	next.due = now.Add(rebindPause(next.tries))
	return next
}

// isUnbound is whether an error text says of a listener that its address cannot be bound. Envoy has a line for each listener
// ("… http: cannot bind '127.0.0.1:8080': Address already in use"), Go says "listen tcp 127.0.0.1:8080: bind: address already in use".
func isUnbound(w *watch, e *offer.Entry, text string) bool {
	if w.url != resource.ListenerType {
		return false
	}
	for line := range strings.Lines(text) {
		if mentions(line, e.Name) {
			return resource.SaysUnbound(line)
		}
	}
	return resource.SaysUnbound(text)
}

// allUnbound is whether a response was NACKed for nothing but addresses: then the client has everything else in it.
func allUnbound(w *watch, blamed []*offer.Entry, text string) bool {
	for _, e := range blamed {
		if !isUnbound(w, e, text) {
			return false
		}
	}
	return len(blamed) > 0
}

// boundAgain is whether a NACK says the same of the same listeners as the one before.
func (st *Stream) boundAgain(w *watch, blamed []*offer.Entry, text string) bool {
	for _, e := range blamed {
		if was := w.nacked[e.Name]; !was.bind.unbound || !offer.Same(was.Content, e) {
			return false
		}
	}
	return allUnbound(w, blamed, text)
}

// eachUnbound calls do for every listener that the client is to be sent again.
func (st *Stream) eachUnbound(do func(w *watch, name string, r rejection)) {
	w := st.watch(resource.ListenerType)
	if w == nil {
		return
	}
	for name, r := range w.nacked {
		if r.bind.unbound && !r.bind.due.IsZero() {
			do(w, name, r)
		}
	}
}

// bindAgain makes listeners pending whose back-off has passed.
func (st *Stream) bindAgain(now time.Time) {
	st.eachUnbound(func(w *watch, name string, r rejection) {
		if now.Before(r.bind.due) {
			return
		}
		r.bind.due = time.Time{} // until the client answers
		st.hub.mu.Lock()
		w.nacked[name] = r
		st.hub.mu.Unlock()
		if _, waits := w.pending.set[name]; !waits && offer.Same(w.items[name].sent, r.Content) {
			w.pending.put(name, w.items[name].sent, st.seq)
			st.wave = nil // the wave and the listener would wait for each other
		}
	})
}
