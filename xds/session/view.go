package session

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/xds/offer"
)

// Condition is the state of a resource at a client.
type Condition uint8

// The conditions.
const (
	Synced  Condition = iota // the client has what is offered, or knows that there is nothing
	Pending                  // it was not sent yet
	Sent                     // it was sent, and the client has not answered
	Nacked                   // the client NACKed what it was sent
	conditions
)

// Holding is one resource at one client.
type Holding struct {
	Name      string
	Has       *offer.Entry // what the client has acknowledged; nil: nothing
	Condition Condition
	Rejection offer.Rejection // where Nacked
	Text      string          // where Nacked: the client's error text
}

// Requested is whether the client has nothing and waits for an answer.
func (h *Holding) Requested() bool { return h.Has == nil && h.Condition != Synced }

// View is what a client has at one moment.
type View struct {
	Lag    Lag
	Silent bool // it did not answer in time
	Types  []TypeView
}

// TypeView is what a client has of a type.
type TypeView struct {
	URL      string
	Wildcard bool
	Traffic  Traffic
	Counts   [conditions]int // resources by Condition
	Absent   int             // those Synced that do not exist
	Holdings []Holding       // by name; nil if only the counts were asked for
}

// Lag is how far behind a client is.
type Lag struct {
	Newest uint64    // state
	Behind uint64    // the oldest state that the client has not answered for; 0: none
	Since  time.Time // when it began to be behind
}

// Lag may be called by any goroutine.
func (st *Stream) Lag() Lag {
	h := st.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return Lag{Newest: h.offers.Seq(), Behind: st.behind, Since: st.behindSince}
}

// Traffic is what the stream has sent and received. Any goroutine may call it.
func (st *Stream) Traffic() Traffic { return st.traffic.load() }

// View is what the client has, with or without its resources.
func (st *Stream) View(resources bool) *View {
	v := &View{Lag: st.Lag(), Silent: st.silent}
	for _, w := range st.watches {
		v.Types = append(v.Types, w.view(resources))
	}
	return v
}

func (w *watch) view(resources bool) TypeView {
	v := TypeView{URL: w.url, Wildcard: w.wildcard, Traffic: w.traffic}
	if resources {
		v.Holdings = make([]Holding, 0, len(w.items))
	}
	add := func(name string, it item) {
		h := w.holding(name, it)
		v.Counts[h.Condition]++
		if h.Condition == Synced && h.Has == nil {
			v.Absent++
		}
		if resources {
			v.Holdings = append(v.Holdings, h)
		}
	}
	for name, it := range w.items {
		add(name, it)
	}
	for name := range w.unlisted() {
		add(name, item{})
	}
	slices.SortFunc(v.Holdings, func(a, b Holding) int { return cmp.Compare(a.Name, b.Name) })
	w.addTexts(v.Holdings)
	return v
}

// unlisted is the names that a client with a wildcard subscription has no item for: they are pending, or the client has NACKed them.
func (w *watch) unlisted() map[string]struct{} {
	names := map[string]struct{}{}
	add := func(name string) {
		if _, listed := w.items[name]; !listed {
			names[name] = struct{}{}
		}
	}
	for _, c := range []*changes{&w.pending, &w.batch} {
		for name, e := range c.set {
			if e != nil {
				add(name)
			}
		}
	}
	for name := range w.nacked {
		add(name)
	}
	return names
}

func (w *watch) holding(name string, it item) Holding {
	h := Holding{Name: name, Has: w.lastAcked(name)}
	r, nacks := w.nacked[name]
	switch {
	case nacks && (it.sent == nil || it.acked || offer.Same(it.sent, r.Content)):
		h.Condition, h.Rejection = Nacked, r.Rejection
	case w.owes(name, it):
		h.Condition = Pending
	case it.sent != nil && !it.acked:
		h.Condition = Sent
	}
	return h
}

// addTexts adds the error texts of NACKed resources.
func (w *watch) addTexts(holdings []Holding) {
	if len(w.nacked) == 0 {
		return
	}
	h := w.stream.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range holdings {
		if holdings[i].Condition == Nacked {
			holdings[i].Text = h.offers.Text(&holdings[i].Rejection)
		}
	}
}

// owes is whether the client will be sent something other than what it was sent last.
func (w *watch) owes(name string, it item) bool {
	if _, leaving := w.pendingRemoval[name]; leaving {
		return true
	}
	next, waits := w.pending.set[name]
	if !waits {
		next, waits = w.batch.set[name]
	}
	return waits && (it.sent == nil || next != nil && next.Version != it.sent.Version)
}
