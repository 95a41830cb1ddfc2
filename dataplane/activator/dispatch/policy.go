package dispatch

import "math/rand/v2"

// policy chooses among the replicas that have room. The Dispatcher calls update after every change. Both calls take constant time.
type policy interface {
	// pick returns the replica that gets the next request, or nil when none has room.
	pick() *Replica
	// update takes a change of a replica's room or load.
	update(r *Replica, room bool)
}

// fewSlots is the largest limit with which replicas are filled one after the other, as in Knative.
const fewSlots = 3

// newPolicy makes the policy for a concurrency limit; 0 is no limit.
func newPolicy(limit int, replicas []*Replica) policy {
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

// firstFree picks the first replica that has room.
type firstFree struct {
	all  []*Replica
	free bitset
}

func (p *firstFree) pick() *Replica {
	if i := p.free.first(); i >= 0 {
		return p.all[i]
	}
	return nil
}

func (p *firstFree) update(r *Replica, room bool) { p.free.set(r.order, room) }

// maxLevels bounds the number of loads that leastLoaded distinguishes.
const maxLevels = 1024

// leastLoaded picks a replica with the fewest requests, and among several of them in turn. It has a list for each load.
type leastLoaded struct {
	lists  []replicaList
	filled bitset // lists that are not empty
}

func (p *leastLoaded) pick() *Replica {
	if i := p.filled.first(); i >= 0 {
		return p.lists[i].first
	}
	return nil
}

func (p *leastLoaded) update(r *Replica, room bool) {
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
type replicaList struct{ first, last *Replica }

func (l *replicaList) push(r *Replica) {
	r.prev, r.next = l.last, nil
	if l.last == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
}

func (l *replicaList) remove(r *Replica) {
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

// twoChoices picks the less loaded of two random replicas.
type twoChoices struct{ free []*Replica }

func (p *twoChoices) pick() *Replica {
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

func (p *twoChoices) update(r *Replica, room bool) {
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
