package session

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// Options of a Hub. All must be set.
type Options struct {
	Logger   hclog.Logger
	Nacked   func(resource.Nack) // called by the goroutine of the client's stream
	Wait     time.Duration       // how long a client has to answer before the server goes ahead without it
	Settle   time.Duration       // how long a new stream has to subscribe to all its types
	MaxNames int                 // names that a stream may subscribe to in one type
	Memory   int                 // bytes that the names of all clients may take
	// Notify is called when Look, Nodes, Rejections or Tick have something new. It must not block, and not call the Hub.
	Notify func()
}

// Hub is what the streams of a server share.
type Hub struct {
	// Set once.
	options Options
	ready   chan struct{} // closed by the first Apply
	traffic []atomicTraffic

	mu sync.Mutex
	// Guarded by mu, as are the fields of streams and watches that say so.
	offers      *offer.State
	subscribers map[offer.Key]*subscribers
	namesMemory [2]int // bytes of the names that clients subscribe to: of gateways and activators, and of all others
	streams     [resource.RoleCount]map[*Stream]struct{}
	lagging     [resource.RoleCount]map[*Stream]struct{} // those of the streams that are behind
	nodes       [resource.RoleCount]nodes
}

// subscribers are the watches of one type and role.
type subscribers struct {
	all   map[*watch]struct{} // wildcard subscriptions
	named map[string][]*watch // subscriptions by name
}

// nodes are the connected clients of one role, an entry for each stream.
type nodes struct {
	connected map[*resource.Node]struct{}
	changes   uint64
}

// NewHub makes a hub before the first state.
func NewHub(options Options) *Hub {
	h := &Hub{
		options: options, offers: offer.New(options.Wait), ready: make(chan struct{}),
		traffic: make([]atomicTraffic, len(resource.Kinds)), subscribers: map[offer.Key]*subscribers{},
	}
	for i := range h.streams {
		h.streams[i], h.lagging[i] = map[*Stream]struct{}{}, map[*Stream]struct{}{}
		h.nodes[i].connected = map[*resource.Node]struct{}{}
	}
	return h
}

// Ready is closed by the first Apply.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Apply makes the next state, wakes the streams that it concerns, and returns the state's number.
func (h *Hub) Apply(u resource.Update, now time.Time) uint64 {
	prepared := offer.Prepare(u)
	h.mu.Lock()
	defer h.mu.Unlock()
	seq := h.offers.Apply(prepared, now)
	h.deliver(now)
	if seq == 1 {
		close(h.ready)
	}
	return seq
}

// Tick retries and rolls back candidates that are due. It returns when it wants to be called again; the zero time for never.
func (h *Hub) Tick(now time.Time) (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next = h.offers.Tick(now)
	h.deliver(now)
	return next
}

// deliver passes the effects of inputs on to the watches that are subscribed; mu is held.
func (h *Hub) deliver(now time.Time) {
	effects := h.offers.Ready()
	var key offer.Key
	var to *subscribers
	for i := range effects.Changes {
		c := &effects.Changes[i]
		if c.Key != key {
			key, to = c.Key, h.subscribers[c.Key]
		}
		if to == nil {
			continue
		}
		for w := range to.all {
			h.mark(w, c.Name, c.Entry, now)
		}
		for _, w := range to.named[c.Name] {
			h.mark(w, c.Name, c.Entry, now)
		}
	}
	if effects.Notify {
		h.options.Notify()
	}
}

// mark records in a watch what a name is now, and wakes its stream; mu is held.
func (h *Hub) mark(w *watch, name string, e *offer.Entry, now time.Time) {
	seq := h.offers.Seq()
	if len(w.incoming) == 0 {
		w.incomingSince = seq
	}
	w.incoming[name] = e
	st := w.stream
	if st.behind == 0 {
		h.setBehind(st, seq, now)
	}
	st.signal()
}

// setBehind records the oldest state that a stream has not answered for, 0 for none; mu is held.
func (h *Hub) setBehind(st *Stream, behind uint64, now time.Time) {
	if st.behind == 0 {
		st.behindSince = now
	}
	if st.behind = behind; behind == 0 {
		delete(h.lagging[resource.RoleIndex(st.client.Role)], st)
	} else {
		h.lagging[resource.RoleIndex(st.client.Role)][st] = struct{}{}
	}
}

// subscribersOf finds or makes the subscribers of a type; mu is held.
func (h *Hub) subscribersOf(key offer.Key) *subscribers {
	s := h.subscribers[key]
	if s == nil {
		s = &subscribers{all: map[*watch]struct{}{}, named: map[string][]*watch{}}
		h.subscribers[key] = s
	}
	return s
}

// dropUnused forgets a type that nobody is subscribed to, so that clients cannot fill the hub with types that do not exist; mu is
// held.
func (h *Hub) dropUnused(key offer.Key) {
	if s := h.subscribers[key]; s != nil && len(s.all)+len(s.named) == 0 {
		delete(h.subscribers, key)
	}
}

// unanimous is whether all other watches that are subscribed to a name NACK the content too; mu is held.
func (h *Hub) unanimous(w *watch, e *offer.Entry) bool {
	s := h.subscribers[w.key()]
	if s == nil {
		return true
	}
	nacks := func(other *watch) bool { return other == w || offer.Same(other.nacked[e.Name].Content, e) }
	for other := range s.all {
		if !nacks(other) {
			return false
		}
	}
	for _, other := range s.named[e.Name] {
		if !nacks(other) {
			return false
		}
	}
	return true
}

// nameCost is what a subscription to a name takes beside the name's own bytes, in the maps of watch and subscribers. It is measured:
// 40 clients with 100,000 names each took 1.4 GB.
const nameCost = 350

// reserve takes the memory of a name, and reports false when the client's role has none left; mu is held.
func (h *Hub) reserve(role uint8, name string) bool {
	most := h.options.Memory
	if role == contract.RoleMesh { // anybody may be such a client
		most /= 2
	}
	taken := h.namesMemory[1]
	if role != contract.RoleMesh {
		taken += h.namesMemory[0]
	}
	if taken >= most {
		return false
	}
	h.namesMemory[memoryIndex(role)] += nameCost + len(name)
	return true
}

// release gives the memory of a name back; mu is held.
func (h *Hub) release(role uint8, name string) {
	h.namesMemory[memoryIndex(role)] -= nameCost + len(name)
}

// memoryIndex is 1 for the role that anybody may have, else 0.
func memoryIndex(role uint8) int {
	if role == contract.RoleMesh {
		return 1
	}
	return 0
}
