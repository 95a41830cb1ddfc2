package loop

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// identity is a revision, and not another one that had its name before.
type identity struct {
	key model.Key
	uid string
}

// proposals are those of signals from outside the loop, sorted by the names of the signals.
type proposals []model.Proposal

// at returns where the proposal of a signal is, or where it belongs.
func (p proposals) at(signal string) (int, bool) {
	return slices.BinarySearchFunc(p, signal, func(p model.Proposal, s string) int { return cmp.Compare(p.Signal, s) })
}

// with has one proposal more, in place of the one of the same signal.
func (p proposals) with(one model.Proposal) proposals {
	i, found := p.at(one.Signal)
	if found {
		p[i] = one
		return p
	}
	return slices.Insert(p, i, one)
}

func (p proposals) without(signal string) proposals {
	if i, found := p.at(signal); found {
		return slices.Delete(p, i, i+1)
	}
	return p
}

// Propose takes the count that a signal from outside the loop asks for, in place of the one that it asked for before. It counts until
// Withdraw, or until the revision is gone or replaced; for a revision that Set has not added yet it is kept. The loop averages nothing: a
// signal smooths its own figures, and proposes model.UnknownReplicas while it has none. A revision without replicas decides at once when
// replicas are asked for.
func (l *Loop) Propose(key model.Key, uid string, p model.Proposal) {
	l.post(func(now time.Time) {
		r := l.revisions[key]
		if r == nil || r.scaled.UID != uid {
			l.ahead[identity{key, uid}] = l.ahead[identity{key, uid}].with(p)
			return
		}
		r.outside = r.outside.with(p)
		if p.Replicas <= 0 {
			return // the next decision has it, and a revision that sleeps goes on to
		}
		l.rouse(r)
		if r.replicas == 0 {
			l.decide(r, now)
		}
	})
}

// Withdraw drops what a signal from outside the loop asks for. Whoever has proposed for a revision withdraws it when the revision is gone,
// because the revision may never have been here.
func (l *Loop) Withdraw(key model.Key, uid, signal string) {
	l.post(func(time.Time) {
		id := identity{key, uid}
		if rest := l.ahead[id].without(signal); len(rest) > 0 {
			l.ahead[id] = rest
		} else {
			delete(l.ahead, id)
		}
		if r := l.revisions[key]; r != nil && r.scaled.UID == uid {
			r.outside = r.outside.without(signal)
		}
	})
}

// takeAhead takes what was proposed for a revision before it was here.
func (l *Loop) takeAhead(key model.Key, uid string) proposals {
	id := identity{key, uid}
	defer delete(l.ahead, id)
	return l.ahead[id]
}
