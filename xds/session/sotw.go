package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// StateOfTheWorld is the variant in which requests repeat all names, and responses of clusters and listeners hold everything.
var StateOfTheWorld Protocol = sotw{}

type sotw struct{}

func (sotw) String() string { return "sotw" }

func (sotw) whole() bool { return true }

// current is false for a request that was under way when the server sent the last response: another follows, with newer names. What
// it says of the response before counts. The first request of a type is taken with any nonce, because some clients send that of
// another type.
func (sotw) current(w *watch, r *Request, first bool) bool { return first || r.Nonce == w.nonce }

func (sotw) subscribe(w *watch, r *Request, first bool, now time.Time) error {
	names := hashNames(r.Names)
	if !first && (names == w.lastNames || len(r.Names) == 0 && !w.explicit) {
		return nil // an answer: it repeats the names
	}
	w.lastNames = names
	w.explicit = w.explicit || len(r.Names) > 0
	defer w.stream.asked(w, first)
	return w.stream.subscribing(w, first, now, func(s subscriber) error {
		if err := s.replace(r.Names, first); err != nil {
			return err
		}
		if first && r.Version != "" {
			s.recognise(r.Version)
		}
		return nil
	})
}

func hashNames(names []string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, name := range names {
		_, _ = d.WriteString(name)
		_, _ = d.Write([]byte{0})
	}
	return d.Sum64()
}

// replace makes the names all that the client is subscribed to. An empty first list, or "*" among the names, is everything.
func (s subscriber) replace(names []string, first bool) error {
	w := s.watch
	wanted := make(map[string]struct{}, len(names))
	for _, name := range names {
		wanted[name] = struct{}{}
	}
	_, all := wanted[resource.Everything]
	delete(wanted, resource.Everything)
	if all || first && len(names) == 0 {
		if !w.wildcard {
			if err := s.subscribeAll(); err != nil {
				return err
			}
		}
	} else if w.wildcard {
		s.unsubscribeAll()
	}
	return s.replaceNames(wanted)
}

func (s subscriber) replaceNames(wanted map[string]struct{}) error {
	for name := range s.watch.items {
		if _, ok := wanted[name]; !ok {
			s.unsubscribe(name)
		}
	}
	for name := range wanted {
		if s.watch.items[name].named {
			continue
		}
		if err := s.subscribe(name); err != nil {
			return err
		}
	}
	return nil
}

// recognise sends nothing if the version is that of everything pending: the client has it from an earlier stream.
func (s subscriber) recognise(version string) {
	if s.hub.offers.Version(s.watch.url) != "" {
		return // a fixed version does not identify what the client has
	}
	w := s.watch
	sum := uint64(0)
	for _, e := range w.pending.set {
		if e == nil {
			if w.kind.Full {
				return // the client must get a response without a resource of this name
			}
			continue
		}
		sum += e.Hash
	}
	if versionOf(sum) != version {
		return
	}
	for name, e := range w.pending.set {
		if w.sent(name, e); e != nil {
			w.ack(name)
			s.hub.offers.Acknowledge(s.key, e, s.now)
			w.stream.expectAgain(w, e, s.now)
		}
	}
	w.ackedSum = w.sum
	w.pending.set = emptied(w.pending.set)
	w.owed = false
}

func (sotw) responses(w *watch, p push) []push {
	if w.kind.Full {
		return []push{{set: w.everythingSent()}}
	}
	if len(p.set) == 0 && !w.owed {
		return nil // the protocol has no way to say that a resource is removed
	}
	return split(push{set: p.set}) // of a kind that is not Full, and so not Whole
}

// everythingSent is all that the client is to have, by name.
func (w *watch) everythingSent() []*offer.Entry {
	all := make([]*offer.Entry, 0, len(w.items))
	for _, it := range w.items {
		if it.sent != nil {
			all = append(all, it.sent)
		}
	}
	slices.SortFunc(all, func(a, b *offer.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
