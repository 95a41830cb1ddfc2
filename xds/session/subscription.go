package session

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// subscriber changes what one watch is subscribed to. It is used while Hub.mu is held.
type subscriber struct {
	watch *watch
	hub   *Hub
	to    *subscribers
	key   offer.Key
	now   time.Time
	// since is the state that what the client asks for belongs to. What a new stream asks for may have changed in any state: its client
	// may have what it had on an earlier stream, and has answered for no state until it has the difference.
	since uint64
}

// subscribing runs a change of what a watch is subscribed to with Hub.mu held.
func (st *Stream) subscribing(w *watch, first bool, now time.Time, change func(subscriber) error) error {
	h, key := st.hub, w.key()
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.dropUnused(key)
	since := h.offers.Seq()
	if first {
		since = min(since, 1)
	}
	err := change(subscriber{w, h, h.subscribersOf(key), key, now, since})
	h.deliver(now)
	return err
}

// asked sees to it that the answer to a client's request does not wait for what is under way.
func (st *Stream) asked(w *watch, first bool) {
	switch {
	case w.kind.Stage == resource.StageRoute:
		st.wave = nil
	case first:
		w.urgent = true
		st.restartWave() // its routes may name what the client asks for only now
	default:
		w.urgent = true
	}
}

// subscribe subscribes the client to a name. The server then sends the resource, even if it has sent it before, or says that there
// is none.
func (s subscriber) subscribe(name string) error {
	if len(name) > resource.MaxName {
		return status.Errorf(codes.InvalidArgument, "a resource name has %d bytes; at most %d are taken", len(name), resource.MaxName)
	}
	w := s.watch
	it := w.items[name]
	if !it.named {
		if err := s.reserve(name); err != nil {
			return err
		}
		it.named = true
		w.named++
		w.items[name] = it
		s.to.named[name] = append(s.to.named[name], w)
		s.hub.offers.Subscribed(s.key, name, s.now)
	}
	since := s.since
	if x, ok := w.stream.expects[w.url][name]; ok {
		since = min(since, x.since) // until the client has this, it does not have all of that state
	}
	w.stream.met(w.url, name)
	s.offerName(name, since)
	return nil
}

// reserve takes the memory of a name; an error says which limit it exceeds.
func (s subscriber) reserve(name string) error {
	w, options := s.watch, s.hub.options
	if w.named >= options.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "a stream may ask for %d names of %s", options.MaxNames, w.url)
	}
	if !s.hub.reserve(s.key.Role, name) {
		return status.Errorf(codes.ResourceExhausted,
			"the names that all clients ask for take as much memory as they may (%d MiB): ask for fewer, or come back later",
			options.Memory>>20)
	}
	return nil
}

// subscribeAny subscribes the client to a name, or with "*" to everything.
func (s subscriber) subscribeAny(name string) error {
	if name == resource.Everything {
		return s.subscribeAll()
	}
	return s.subscribe(name)
}

// offerName makes pending what is offered under a name, as part of a state.
func (s subscriber) offerName(name string, since uint64) {
	w := s.watch
	e := s.hub.offers.Get(s.key, name)
	if e == nil && w.items[name].sent != nil {
		s.setPendingRemoval(name)
		return
	}
	w.pending.put(name, e, since)
}

func (s subscriber) setPendingRemoval(name string) {
	if _, ok := s.watch.pendingRemoval[name]; !ok {
		s.watch.pendingRemoval[name] = s.since
	}
}

// subscribeAll subscribes the client to everything.
func (s subscriber) subscribeAll() error {
	if w := s.watch; w.stream.client.NamesOnly {
		return status.Errorf(codes.PermissionDenied,
			"all resources of %s are for clients that have proved who they are; this one has to name those that it wants", w.url)
	}
	s.addAll()
	return nil
}

// addAll makes pending everything that the client does not have, and everything if it subscribes again.
func (s subscriber) addAll() {
	w := s.watch
	again := w.wildcard
	w.wildcard = true
	s.to.all[w] = struct{}{}
	if !again {
		s.hub.offers.SubscribedAll(s.key, s.now)
	}
	since := s.since
	for _, x := range w.stream.expects[w.url] {
		since = min(since, x.since)
	}
	delete(w.stream.expects, w.url)
	offered := s.hub.offers.All(s.key)
	for name, e := range offered {
		if sent := w.items[name].sent; again || !offer.Same(sent, e) {
			w.pending.put(name, e, since)
		}
	}
	for name, it := range w.items {
		if it.sent != nil && offered[name] == nil {
			s.setPendingRemoval(name)
		}
	}
	w.owed = w.owed || len(w.items) == 0 && w.pending.empty()
}

// unsubscribe ends the subscription to a name. If the client is also subscribed to everything, it keeps the resource.
func (s subscriber) unsubscribe(name string) (was bool) {
	w := s.watch
	it := w.items[name]
	if !it.named {
		return false
	}
	s.unlist(name)
	w.named--
	it.named = false
	if w.items[name] = it; !w.wildcard {
		w.forget(name, s.now)
	} else if it.sent == nil {
		delete(w.items, name)
	}
	return true
}

// unlist takes the watch out of the list of those that are subscribed to a name.
func (s subscriber) unlist(name string) {
	s.hub.release(s.key.Role, name)
	list := s.to.named[name]
	i := slices.Index(list, s.watch)
	list[i] = list[len(list)-1]
	list[len(list)-1] = nil
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(s.to.named, name)
		return
	}
	s.to.named[name] = list
}

// unsubscribeAll ends the subscription to everything; those to names stay.
func (s subscriber) unsubscribeAll() {
	w := s.watch
	w.wildcard = false
	w.owed = false
	delete(s.to.all, w)
	for name, it := range w.items {
		if !it.named {
			w.forget(name, s.now)
		}
	}
	// What was never sent has no item.
	for _, c := range []*changes{&w.pending, &w.batch} {
		for name := range c.set {
			if !w.items[name].named {
				delete(c.set, name)
			}
		}
	}
}

// unsubscribeAll ends all subscriptions and NACKs of a stream.
func (st *Stream) unsubscribeAll(now time.Time) {
	for _, w := range st.watches {
		_ = st.subscribing(w, false, now, func(s subscriber) error {
			delete(s.to.all, w)
			for name, it := range w.items {
				if it.named {
					s.unlist(name)
				}
			}
			for name := range w.nacked {
				st.withdrawNack(w, name, now)
			}
			return nil
		})
	}
}
