package session

import (
	"time"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// MaxMessage is the size in bytes at which a response is split: well under the 4 MiB that gRPC clients take by default. A resource
// that is larger goes alone. A list that the protocol does not let us split may be larger too.
const MaxMessage = 2 << 20

// Overhead is what a resource takes in a message beside its body and texts, in bytes, at most.
const Overhead = 64

// Delta is the incremental variant.
var Delta Protocol = delta{}

type delta struct{}

func (delta) String() string { return "delta" }

func (delta) whole() bool { return false }

// current is true: a delta request says what changes, whatever response it follows.
func (delta) current(*watch, *Request, bool) bool { return true }

func (delta) subscribe(w *watch, r *Request, first bool, now time.Time) error {
	if !first && len(r.Subscribe)+len(r.Unsubscribe) == 0 {
		return nil
	}
	defer w.stream.asked(w, first)
	return w.stream.subscribing(w, first, now, func(s subscriber) error {
		if first {
			s.recordInitial(r.Initial)
		}
		names := r.Subscribe
		if first && len(names) == 0 {
			names = []string{resource.Everything}
		}
		for _, name := range names {
			if err := s.subscribeAny(name); err != nil {
				return err
			}
		}
		for _, name := range r.Unsubscribe {
			s.unsubscribeAny(name)
		}
		if first {
			s.settleInitial(r.Initial)
		}
		return nil
	})
}

// recordInitial records what the client has from an earlier stream.
func (s subscriber) recordInitial(initial map[string]string) {
	for name, version := range initial {
		e := s.hub.offers.Get(s.key, name)
		if e == nil || e.Version != version {
			e = offer.NewClaimed(s.watch.url, name, version)
		}
		s.watch.sent(name, e)
		s.watch.ack(name)
	}
}

// settleInitial does not send what the client has already, and forgets what it has but is not subscribed to.
func (s subscriber) settleInitial(initial map[string]string) {
	w := s.watch
	for name := range initial {
		it := w.items[name]
		switch {
		case !it.named && !w.wildcard:
			w.forget(name, s.now)
		case it.sent != nil && s.hub.offers.Get(s.key, name) == it.sent:
			delete(w.pending.set, name)
			s.hub.offers.Acknowledge(s.key, it.sent, s.now)
			w.stream.expectAgain(w, it.sent, s.now)
		}
	}
}

// unsubscribeAny ends the subscription to a name, or with "*" to everything. A client that is still subscribed to everything does not
// know whether the resource is part of that, so it is sent again.
func (s subscriber) unsubscribeAny(name string) {
	if name == resource.Everything {
		s.unsubscribeAll()
	} else if s.unsubscribe(name) && s.watch.wildcard {
		s.offerName(name, s.since)
	}
}

func (delta) responses(w *watch, p push) []push {
	if w.kind.Whole {
		return []push{p}
	}
	return split(p)
}

// split divides a push into parts of at most MaxMessage bytes.
func split(p push) []push {
	parts, size := []push{{}}, 0
	next := func(bytes int) *push {
		if size += bytes + Overhead; size > MaxMessage && size > bytes+Overhead {
			parts, size = append(parts, push{}), bytes+Overhead
		}
		return &parts[len(parts)-1]
	}
	for _, e := range p.set {
		part := next(len(e.Body) + len(e.Name) + len(e.Version) + len(e.Type))
		part.set = append(part.set, e)
	}
	for _, name := range p.removed {
		part := next(len(name))
		part.removed = append(part.removed, name)
	}
	return parts
}
