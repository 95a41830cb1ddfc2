package session

import (
	"time"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// Connect counts a client among the connected ones until it is disconnected.
func (h *Hub) Connect(role uint8, n resource.Node) (disconnect func()) {
	node, of := &n, &h.nodes[resource.RoleIndex(role)]
	change := func(apply func()) {
		h.mu.Lock()
		apply()
		of.changes++
		h.mu.Unlock()
		h.options.Notify()
	}
	change(func() { of.connected[node] = struct{}{} })
	return func() { change(func() { delete(of.connected, node) }) }
}

// Nodes is the connected clients of a role, in no order, an entry for each stream. It is nil if there have been no changes since
// the given count of changes.
func (h *Hub) Nodes(role uint8, since uint64) (connected []resource.Node, changes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := &h.nodes[resource.RoleIndex(role)]
	if of.changes == since {
		return nil, since
	}
	connected = make([]resource.Node, 0, len(of.connected))
	for n := range of.connected {
		connected = append(connected, *n)
	}
	return connected, of.changes
}

// Rejections is what clients NACK now. It is nil if there have been no changes since the given count of changes.
func (h *Hub) Rejections(since uint64) (found []resource.Rejection, changes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changes = h.offers.RejectionChanges()
	if changes == since {
		return nil, changes
	}
	return h.offers.Rejections(), changes
}

// Progress is how far each role is, by index of the role.
type Progress [resource.RoleCount]resource.Progress

// Look is how far each role is. The caller gives what it has reported last, because a reported state is never taken back. next is
// when one more client counts as silent; the zero time if none is waited for.
func (h *Hub) Look(last Progress, now time.Time) (found Progress, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, streams := range h.streams {
		found[i] = resource.Progress{Role: 1 << i, Seq: last[i].Seq, Clients: len(streams)}
		if len(streams) == 0 {
			continue // no client has the newest state, and a client that comes back has an older one
		}
		seq, left := h.answered(i, now)
		if left > 0 && (next.IsZero() || now.Add(left).Before(next)) {
			next = now.Add(left)
		}
		found[i].Seq = max(seq, last[i].Seq)
	}
	return found, next
}

// answered is the newest state that all clients of a role have answered for, but the silent ones, and in how much time the next of
// those that are waited for counts as silent; 0 if none is waited for. mu is held.
func (h *Hub) answered(role int, now time.Time) (seq uint64, left time.Duration) {
	seq = h.offers.InForce(1<<role, h.offers.Seq())
	for st := range h.lagging[role] {
		// Integers, because with thousands of clients this is most of what a change costs.
		rest := h.options.Wait - time.Duration(now.UnixNano()-max(st.behindSince.UnixNano(), st.client.Heard()))
		if rest <= 0 {
			continue // silent
		}
		if left == 0 || rest < left {
			left = rest
		}
		seq = min(seq, st.behind-1)
	}
	return seq, left
}

// Offered is everything that a role is offered, sorted, and the state that it belongs to.
func (h *Hub) Offered(role uint8) (offers []offer.Offer, seq uint64) {
	h.mu.Lock()
	offers, seq = h.offers.List(role), h.offers.Seq()
	h.mu.Unlock()
	offer.Sort(offers)
	return offers, seq
}

// Stats are counts of a moment.
type Stats struct {
	Seq       uint64                  // newest state
	Resources int                     // in the newest state; one that two roles may have counts twice
	Streams   [resource.RoleCount]int // by index of the role
	Types     []offer.TypeCount
}

// Stats counts.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Seq: h.offers.Seq(), Resources: h.offers.Count(), Types: h.offers.Counts()}
	for i, streams := range h.streams {
		s.Streams[i] = len(streams)
	}
	return s
}

// Traffic is what all streams have sent and received of the kind with a rank.
func (h *Hub) Traffic(rank int) Traffic { return h.traffic[rank].load() }
