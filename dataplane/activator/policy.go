package activator

import "math/rand/v2"

// policy chooses among the replicas that have room. It is told of every change; both calls take the same time however many
// replicas there are.
type policy interface {
	// pick is the replica that gets the next request; nil when none has room.
	pick() *replica
	// update says that the room or the load of a replica has changed.
	update(r *replica, room bool)
}

// fewSlots is up to which limit a replica is filled before the next one gets anything, as in Knative.
const fewSlots = 3

// newPolicy makes the policy for a concurrency limit; 0 is none. The replicas' order is theirs in the slice.
func newPolicy(limit int, replicas []*replica) policy {
	for i, r := range replicas {
		r.order, r.level, r.prev, r.next = i, -1, nil, nil
	}
	switch {
	case limit == 0:
		return &twoChoices{}
	case limit <= fewSlots:
		return &firstFree{all: replicas, free: newBitset(len(replicas))}
	}
	levels := min(limit, maxLevels)
	return &leastLoaded{lists: make([]replicaList, levels), filled: newBitset(levels)}
}

// firstFree takes the first replica in order that has room.
type firstFree struct {
	all  []*replica
	free bitset
}

func (p *firstFree) pick() *replica {
	if i := p.free.first(); i >= 0 {
		return p.all[i]
	}
	return nil
}

func (p *firstFree) update(r *replica, room bool) { p.free.set(r.order, room) }

// maxLevels bounds how many loads leastLoaded tells apart.
const maxLevels = 1024

// leastLoaded takes a replica with the fewest requests, those with equally many in turn: there is one list for each load.
type leastLoaded struct {
	lists  []replicaList
	filled bitset // lists that are not empty
}

func (p *leastLoaded) pick() *replica {
	if i := p.filled.first(); i >= 0 {
		return p.lists[i].first
	}
	return nil
}

func (p *leastLoaded) update(r *replica, room bool) {
	if r.level >= 0 {
		list := &p.lists[r.level]
		list.remove(r)
		p.filled.set(r.level, list.first != nil)
		r.level = -1
	}
	if room {
		r.level = min(r.inFlight, len(p.lists)-1)
		p.lists[r.level].push(r)
		p.filled.set(r.level, true)
	}
}

// replicaList is first in, first out.
type replicaList struct{ first, last *replica }

func (l *replicaList) push(r *replica) {
	r.prev, r.next = l.last, nil
	if l.last == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
}

func (l *replicaList) remove(r *replica) {
	if r.prev == nil {
		l.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, nil
}

// twoChoices takes the less loaded of two random replicas.
type twoChoices struct{ free []*replica }

func (p *twoChoices) pick() *replica {
	switch n := len(p.free); n {
	case 0:
		return nil
	case 1:
		return p.free[0]
	default:
		i, j := rand.IntN(n), rand.IntN(n-1)
		if j >= i {
			j++
		}
		a, b := p.free[i], p.free[j]
		if b.inFlight < a.inFlight {
			return b
		}
		return a
	}
}

func (p *twoChoices) update(r *replica, room bool) {
	switch {
	case room && r.level < 0:
		r.level = len(p.free)
		p.free = append(p.free, r)
	case !room && r.level >= 0:
		last := p.free[len(p.free)-1]
		p.free[r.level], last.level = last, r.level
		p.free = p.free[:len(p.free)-1]
		r.level = -1
	}
}
